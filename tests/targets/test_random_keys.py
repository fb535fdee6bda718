"""Random keys of the new style among the arguments: data, as those of the old style are."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.infer
import pytest
from numpyro import handlers

import taut
import taut.infer
from taut.infer import optim

Y = np.array([0.4, 1.3, 0.2])
KEY = jax.random.key(2)


def model(key, y=None):
    shift = jax.random.normal(key)
    x = numpyro.sample("x", dist.Normal(shift, 1.0))
    with numpyro.plate("rows", 3):
        numpyro.sample("y", dist.Normal(x + shift, 1.0), obs=y)


def guide(key, y=None):
    shift = 0.1 * jax.random.normal(key)
    numpyro.sample("x", dist.Normal(numpyro.param("loc", 0.2) + shift, 0.7))


def _fit(key, **options):
    return taut.fit(model, key, Y, progress=False, **options)


WAYS = {
    "fit": lambda key: _fit(key).mean("x"),
    "guide": lambda key: _fit(key, guide=guide).mean("x"),
    "predict": lambda key: _fit(jax.random.key(0)).predict(key)["y"],
    "arviz": lambda key: _fit(key).to_arviz(groups=["constant_data"]).constant_data["key"],
    "prior": lambda key: taut.prior(model, key, Y, draws=7)["x"],
    "nuts": lambda key: taut.nuts(model, key, Y, warmup=8, draws=8, progress=False).sample()["x"],
    "log density": lambda key: taut.from_log_density(
        lambda x, data: -0.5 * (x - jax.random.normal(data)) ** 2, 0.0, key
    ).log_density(jnp.full(1, 0.3)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_key_of_either_style_gives_the_same(way, same_to_rounding):
    new, old = WAYS[way](KEY), WAYS[way](jax.random.PRNGKey(2))
    same_to_rounding(new, old, np.float32)
    assert not np.array_equal(new, WAYS[way](jax.random.key(3)))


def test_another_key_compiles_nothing_but_one_of_another_generator_does(compilations):
    _fit(KEY)
    with compilations() as compiled:
        _fit(jax.random.key(5))
    assert compiled == [0]
    one, other = (taut.target(model, jax.random.key(2, impl=i), Y) for i in ("threefry2x32", "rbg"))
    assert one.data_names == ("key", "y")
    assert one.program is not other.program


def test_a_guide_is_checked_with_a_key():
    assert taut.check(model, guide, KEY, Y).ok


def _run(inference, model, guide, *args, **static):
    svi = inference.SVI(model, guide, optim.SGD(0.01), inference.Trace_ELBO(), **static)
    state = svi.init(jax.random.key(0), *args)
    state, first = svi.update(state, *args)
    losses = svi.run(jax.random.key(0), 5, *args, progress_bar=False).losses
    return np.array([first, svi.evaluate(state, *args), *losses])


PROGRAMS = {
    "a guide function": lambda inference: guide,
    "an autoguide": lambda inference: inference.autoguide.AutoNormal(model),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_svi_has_numpyros_losses_and_compiles_nothing_for_another_key(
    name, same_to_rounding, compilations
):
    own, numpyros = (PROGRAMS[name](inference) for inference in (taut.infer, numpyro.infer))
    expected = _run(numpyro.infer, model, numpyros, KEY, Y)
    same_to_rounding(_run(taut.infer, model, own, KEY, Y), expected, np.float32)
    with compilations() as compiled:
        other = _run(taut.infer, model, own, jax.random.key(3), Y)
    assert compiled == [0]
    assert not np.allclose(other, expected)


def test_a_static_key_is_part_of_the_problem(same_to_rounding):
    runs = []
    for key in (KEY, jax.random.key(3)):
        own, expected = (
            _run(inference, model, guide, y=Y, key=key) for inference in (taut.infer, numpyro.infer)
        )
        same_to_rounding(own, expected, np.float32)
        runs.append(own)
    assert not np.allclose(*runs)


def _seeded(y):
    numpyro.sample("y", dist.Normal(numpyro.sample("x", dist.Normal(0.0, 1.0)), 1.0), obs=y)


def test_a_model_that_holds_its_key_is_trained(same_to_rounding):
    held = handlers.seed(_seeded, 1)
    own, expected = (
        _run(inference, held, inference.autoguide.AutoNormal(held), 1.0)
        for inference in (taut.infer, numpyro.infer)
    )
    same_to_rounding(own, expected, np.float32)


def test_predictive_draws_as_numpyro_does(same_to_rounding, compilations):
    def draw(inference, key):
        predictive = inference.Predictive(model, guide=guide, params={"loc": 0.3}, num_samples=5)
        return predictive(jax.random.key(1), key)["y"]

    same_to_rounding(draw(taut.infer, KEY), draw(numpyro.infer, KEY), np.float32)
    with compilations() as compiled:
        draw(taut.infer, jax.random.key(4))
    assert compiled == [0]
