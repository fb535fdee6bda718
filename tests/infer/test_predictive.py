"""`Predictive`, three ways, draw for draw beside NumPyro's."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.infer
import pytest
from numpyro.distributions import constraints

import taut
from taut.infer import SVI, Predictive, Trace_ELBO, autoguide, optim, predictive

X = np.linspace(0.0, 1.0, 5, dtype=np.float32)
PARAMS = {"loc": jnp.array(0.3), "scale": jnp.array(0.2)}
KEY = jax.random.key(4)


def line(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    mean = numpyro.deterministic("mean", slope * x)
    with numpyro.plate("rows", len(x)):
        return numpyro.sample("y", dist.Normal(mean, 0.1), obs=y)


def line_guide(x, y=None):
    loc = numpyro.param("loc", 0.0)
    scale = numpyro.param("scale", 1.0, constraint=constraints.positive)
    numpyro.sample("slope", dist.Normal(loc, scale))


SLOPES = {"slope": jnp.linspace(-1.0, 1.0, 12)}
GRID = {"slope": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)}

WAYS = {
    "guide": ((line_guide,), {"params": PARAMS, "num_samples": 7}),
    "prior": ((line,), {"num_samples": 7}),
    "model and guide": ((line,), {"guide": line_guide, "params": PARAMS, "num_samples": 7}),
    "draws": ((line, SLOPES), {}),
    "chains of draws": ((line, GRID), {"batch_ndims": 2}),
    "one draw": ((line, {"slope": jnp.array(0.4)}), {"batch_ndims": 0}),
    "chosen sites": ((line, SLOPES), {"return_sites": ["y", "slope"]}),
    "a batch of fits": (
        (line,),
        {
            "guide": line_guide,
            "params": {"loc": jnp.arange(3.0), "scale": jnp.full(3, 0.1)},
            "num_samples": 5,
            "batch_ndims": 1,
        },
    ),
    "kept deterministic": (
        (line, {**SLOPES, "mean": jnp.ones((12, 5))}),
        {"condition_deterministic": True},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_draws_are_numpyros_for_the_same_key(way, same_to_rounding):
    args, options = WAYS[way]
    ours = Predictive(*args, **options)(KEY, X, y=None)
    theirs = numpyro.infer.Predictive(*args, **options)(KEY, X, y=None)
    assert set(ours) == set(theirs)
    for name in theirs:
        same_to_rounding(ours[name], theirs[name], np.float32)


def test_a_bound_on_memory_cuts_the_call_and_changes_no_draw(monkeypatch, same_to_rounding):
    whole = Predictive(line, SLOPES)(KEY, X)

    def unseen(x, y=None):
        return line(x, y)

    monkeypatch.setattr(predictive, "MEMORY", 1.0)
    blocks = []
    mapped = jax.lax.map
    monkeypatch.setattr(
        jax.lax, "map", lambda f, rows, batch_size: blocks.append(batch_size) or mapped(f, rows)
    )
    cut = Predictive(unseen, SLOPES)(KEY, X)
    assert set(blocks) == {1}
    for name in whole:
        same_to_rounding(cut[name], whole[name], np.float32)


def test_an_autoguide_draws_the_latents_it_was_fitted_for():
    guide = autoguide.AutoMultivariateNormal(line)
    svi = SVI(line, guide, optim.Adam(0.01), Trace_ELBO())
    params = svi.run(KEY, 20, X, y=X, progress_bar=False).params
    options = {"params": params, "num_samples": 6}
    latents = Predictive(guide, **options)(KEY, X)
    assert set(latents) == {"_auto_latent", "slope"}
    assert latents["slope"].shape == (6,)
    assert Predictive(line, guide=guide, **options)(KEY, X[:3])["y"].shape == (6, 3)


def test_it_works_inside_jit(same_to_rounding):
    draw = Predictive(line, SLOPES)
    inside = jax.jit(draw)(KEY, X)
    same_to_rounding(inside["y"], draw(KEY, X)["y"], np.float32)


def test_factors_have_draws_without_numbers():
    def model():
        x = numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.factor("weight", -(x**2))

    for options in ({}, {"guide": model}, {"guide": model, "batch_ndims": 2}):
        mine, reference = (
            jax.tree.map(np.shape, kind(model, num_samples=4, **options)(KEY))
            for kind in (Predictive, numpyro.infer.Predictive)
        )
        assert mine == reference


def test_all_that_is_wrong_is_said_at_once():
    given = {"a": np.zeros(3), "b": np.zeros(4)}
    with pytest.raises(taut.InputError) as caught:
        Predictive(line, given, guide=line, batch_ndims=1, infer_discrete=True)
    text = str(caught.value)
    for part in ("infer_discrete=True is not supported", "not both", "same leading axes"):
        assert part in text
    with pytest.raises(taut.InputError, match="num_samples is needed"):
        Predictive(line)
    with pytest.raises(taut.InputError, match="did you mean 'slope'"):
        Predictive(line, num_samples=2, return_sites=["slop"])(KEY, X)
    with pytest.raises(taut.InputError, match=r"write \['y'\]"):
        Predictive(line, num_samples=2, return_sites="y")


def test_data_that_come_back_as_predictions_are_warned_of():
    with pytest.warns(UserWarning, match="'?y'?; the draws are those data"):
        Predictive(line, SLOPES)(KEY, X, y=X)


def test_a_number_of_draws_that_contradicts_the_draws_is_warned_of():
    with pytest.warns(UserWarning, match="hold 12 draws"):
        Predictive(line, SLOPES, num_samples=5)
