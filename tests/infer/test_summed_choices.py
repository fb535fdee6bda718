"""Discrete auxiliaries of a guide are summed out of its density, exactly."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import param, plate, sample
from numpyro.distributions import constraints
from seeds import EACH_SEED

import taut
from taut._core.run_once import run_once
from taut.infer import SVI, RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, optim
from taut.infer.trace_elbo import log_probs
from taut.infer.traces import Pair

ROWS = 3
PLACES = jnp.array([-2.0, 1.0])
PARAMS = {"weight": jnp.array(0.4), "width": jnp.array(0.9)}
AUXILIARY = {"is_auxiliary": True}


def _params():
    weight = param("weight", 0.4, constraint=constraints.unit_interval)
    return weight, param("width", 0.9, constraint=constraints.positive)


def _pair(weight):
    return dist.Categorical(jnp.stack([1.0 - weight, weight]))


def line():
    sample("x", dist.Normal(0.3, 1.5))


def chosen():
    weight, width = _params()
    k = sample("k", _pair(weight), infer=AUXILIARY)
    sample("x", dist.Normal(PLACES[k], width))


def mixed():
    weight, width = _params()
    sample("x", dist.MixtureSameFamily(_pair(weight), dist.Normal(PLACES, width)))


def rows():
    with plate("rows", ROWS):
        sample("x", dist.Normal(0.3 * jnp.arange(ROWS), 1.5))


def chosen_by_row():
    weight, width = _params()
    with plate("rows", ROWS):
        k = sample("k", _pair(weight), infer=AUXILIARY)
        sample("x", dist.Normal(PLACES[k], width))


def chosen_without_plate():
    weight, width = _params()
    k = sample("k", _pair(weight).expand([ROWS]), infer=AUXILIARY)
    with plate("rows", ROWS):
        sample("x", dist.Normal(PLACES[k], width))


def mixed_by_row(x, weight, width):
    return dist.MixtureSameFamily(_pair(weight), dist.Normal(PLACES, width)).log_prob(x).sum()


def chosen_for_all():
    weight, width = _params()
    k = sample("k", _pair(weight), infer=AUXILIARY)
    with plate("rows", ROWS):
        sample("x", dist.Normal(PLACES[k], width))


def mixed_for_all(x, weight, width):
    parts = dist.Normal(PLACES[:, None], width).log_prob(x).sum(axis=1)
    return jax.nn.logsumexp(jnp.log(jnp.stack([1.0 - weight, weight])) + parts)


def chosen_twice():
    weight, width = _params()
    late = sample("late", dist.Bernoulli(weight), infer=AUXILIARY)
    with plate("rows", ROWS):
        k = sample("k", dist.Bernoulli(0.3 + 0.4 * late), infer=AUXILIARY)
        sample("x", dist.Normal(PLACES[k] + late, width))


def mixed_twice(x, weight, width):
    terms = []
    for late, ks in itertools.product((0, 1), itertools.product((0, 1), repeat=ROWS)):
        places = PLACES[np.array(ks)] + late
        log_w = dist.Bernoulli(weight).log_prob(late)
        log_w += dist.Bernoulli(0.3 + 0.4 * late).log_prob(np.array(ks)).sum()
        terms.append(log_w + dist.Normal(places, width).log_prob(x).sum())
    return jax.nn.logsumexp(jnp.stack(terms))


def chosen_in_two_plates():
    weight, width = _params()
    with plate("rows", ROWS):
        k = sample("k", dist.Bernoulli(weight), infer=AUXILIARY)
        with plate("columns", 2, dim=-2):
            j = sample("j", dist.Bernoulli(0.2 + 0.5 * k), infer=AUXILIARY)
            sample("x", dist.Normal(PLACES[j] + 0.5 * k, width))


def table():
    with plate("rows", ROWS), plate("columns", 2, dim=-2):
        sample("x", dist.Normal(0.0, 1.0))


def mixed_in_two_plates(x, weight, width):
    total = 0.0
    for row in range(ROWS):
        terms = []
        for k in (0, 1):
            inner = dist.MixtureSameFamily(
                dist.Categorical(jnp.array([0.8 - 0.5 * k, 0.2 + 0.5 * k])),
                dist.Normal(PLACES + 0.5 * k, width),
            )
            terms.append(dist.Bernoulli(weight).log_prob(k) + inner.log_prob(x[:, row]).sum())
        total += jax.nn.logsumexp(jnp.stack(terms))
    return total


def _log_q(model, guide):
    def draw(key):
        model_trace, guide_trace, _ = Pair(model, guide, (), {}).draw(key, PARAMS)
        return model_trace["x"]["value"], sum(log_probs(guide_trace).values())

    return run_once(draw)


@pytest.mark.parametrize(
    ("model", "guide", "exact"),
    [
        (rows, chosen_by_row, mixed_by_row),
        (rows, chosen_without_plate, mixed_by_row),
        (rows, chosen_for_all, mixed_for_all),
        (rows, chosen_twice, mixed_twice),
        (table, chosen_in_two_plates, mixed_in_two_plates),
    ],
)
def test_log_q_is_the_sum_over_all_choices(model, guide, exact):
    draw, exactly = _log_q(model, guide), run_once(functools.partial(exact, **PARAMS))
    for seed in range(5):
        x, log_q = draw(jax.random.key(seed))
        np.testing.assert_allclose(log_q, exactly(x), rtol=2e-5)


def test_rows_of_a_minibatch_are_summed_and_scaled():
    def model():
        with plate("rows", 4, subsample_size=2) as at:
            sample("x", dist.Normal(0.3 * at, 1.5))

    def guide():
        weight, width = _params()
        with plate("rows", 4, subsample_size=2):
            k = sample("k", _pair(weight), infer=AUXILIARY)
            sample("x", dist.Normal(PLACES[k], width))

    x, log_q = _log_q(model, guide)(jax.random.key(0))
    np.testing.assert_allclose(log_q, 2.0 * mixed_by_row(x, **PARAMS), rtol=2e-5)


OBJECTIVES = [
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    functools.partial(RenyiELBO, 0.3),
]


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_gradients_are_those_of_the_mixture(kind, within_error):
    """The mixture's own gradients are held against quadrature elsewhere."""

    def gradients(guide, seed):
        def one(key):
            loss = kind(num_particles=2).loss
            return jax.grad(lambda p: loss(key, p, line, guide))(PARAMS)

        return run_once(jax.vmap(one))(jax.random.split(jax.random.key(seed), 4000))

    found, expected = gradients(chosen, 1), gradients(mixed, 2)
    for name in PARAMS:
        ours, theirs = (np.asarray(values[name], float) for values in (found, expected))
        error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / len(ours))
        within_error(ours.mean(), theirs.mean(), error)


def test_two_levels_of_choices_have_the_gradient_of_the_sum(within_error):
    def exact(params, draws=20_000):
        """Importance sampling with the guide itself, whose weights are one here."""
        keys = jax.random.split(jax.random.key(7), draws)
        x = jax.vmap(lambda key: _drawn(key, chosen_twice))(keys)
        log_p = dist.Normal(0.3 * jnp.arange(ROWS), 1.5).log_prob(x).sum(axis=1)
        log_q = jax.vmap(lambda row: mixed_twice(row, **params))(x)
        held = jax.lax.stop_gradient(log_q)
        return jnp.exp(log_q - held) * (log_q - log_p)

    each = run_once(jax.jacfwd(exact))(PARAMS)["weight"]
    for kind in (Trace_ELBO, TraceGraph_ELBO):

        def one(key, kind=kind):
            loss = kind(num_particles=2).loss
            return jax.grad(lambda p: loss(key, p, rows, chosen_twice))(PARAMS)["weight"]

        found = np.asarray(run_once(jax.vmap(one))(jax.random.split(jax.random.key(1), 4000)))
        error = np.sqrt(found.var(ddof=1) / len(found) + each.var(ddof=1) / len(each))
        within_error(found.mean(), each.mean(), error)


def _drawn(key, guide):
    return numpyro.handlers.trace(
        numpyro.handlers.substitute(numpyro.handlers.seed(guide, key), data=PARAMS)
    ).get_trace()["x"]["value"]


def bimodal():
    places = jnp.array([-3.0, 3.0])
    parts = dist.Normal(places, jnp.array([1.0, 0.5]))
    sample("x", dist.MixtureSameFamily(dist.Categorical(jnp.array([0.8, 0.2])), parts))


def free_choice():
    weight = param("weight", 0.5, constraint=constraints.unit_interval)
    place = param("place", jnp.array([-2.0, 2.0]))
    width = param("width", jnp.ones(2), constraint=constraints.positive)
    k = sample("k", _pair(weight))
    sample("x", dist.Normal(place[k], width[k]))


@EACH_SEED
def test_a_guide_with_a_choice_is_fitted_exactly(seed):
    fit = taut.fit(bimodal, guide=free_choice, seed=seed)
    # The target is in the family: the ELBO and the evidence are log 1.
    for value, error in (fit.elbo, fit.log_evidence):
        assert abs(value) < 0.01 + 4.0 * error
    assert abs(fit.guide.params["weight"] - 0.2) < 0.02
    assert not any("log q counts" in finding.message for finding in fit.findings)


def test_a_choice_is_no_leftover():
    assert not any(p.kind == "auxiliary" for p in taut.check(bimodal, free_choice).problems)


def counted():
    k = sample("k", dist.Poisson(param("rate", 1.0, constraint=constraints.positive)))
    sample("x", dist.Normal(1.0 * k, 1.0))


def shifted():
    weight, width = _params()
    k = sample("k", _pair(weight))
    u = sample("u", dist.Normal(0.0, width))
    sample("x", dist.Delta(PLACES[k] + u))


def across_rows():
    weight, width = _params()
    with plate("rows", ROWS):
        k = sample("k", _pair(weight), infer=AUXILIARY)
    sample("x", dist.Normal(PLACES[k].sum(), width))


@pytest.mark.parametrize("guide", [counted, shifted, across_rows])
def test_choices_that_cannot_be_summed_are_named(guide):
    found = [p for p in taut.check(line, guide).problems if p.kind == "auxiliary"]
    assert [p.site for p in found] == ["k"]
    assert "its values cannot be summed out, so log q counts its density as well" in found[0].found
    assert "taut.guides.mixture" in found[0].fix


def test_explicit_runs_say_what_is_left_over():
    svi = SVI(line, across_rows, optim.Adam(0.01), Trace_ELBO())
    with pytest.warns(UserWarning, match="The guide draws 'k', which the model does not have"):
        result = svi.run(jax.random.key(0), 20, progress_bar=False)
    (finding,) = result.findings
    assert finding.level == "doubt"
    quiet = SVI(line, chosen, optim.Adam(0.01), Trace_ELBO())
    assert quiet.run(jax.random.key(0), 20, progress_bar=False).findings == ()
