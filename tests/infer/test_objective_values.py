"""Losses and pathwise gradients agree with NumPyro's, noise for noise."""

import functools

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.infer
import pytest
from programs import PAIRS, Y, param_values

from taut._core.xla_options import ONCE, known_options
from taut.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO

OBJECTIVES = {
    "trace": (Trace_ELBO, numpyro.infer.Trace_ELBO, {"num_particles": 3}),
    "one particle": (Trace_ELBO, numpyro.infer.Trace_ELBO, {}),
    "not vectorised": (
        Trace_ELBO,
        numpyro.infer.Trace_ELBO,
        {"num_particles": 3, "vectorize_particles": False},
    ),
    "mean field": (TraceMeanField_ELBO, numpyro.infer.TraceMeanField_ELBO, {"num_particles": 2}),
    "graph": (TraceGraph_ELBO, numpyro.infer.TraceGraph_ELBO, {"num_particles": 2}),
    "renyi": (RenyiELBO, numpyro.infer.RenyiELBO, {"alpha": 0.4, "num_particles": 4}),
}

SEEDS = (0, 1, 2)

CASES = [
    ("trace", "hierarchy"),
    ("trace", "auxiliary"),
    ("trace", "local"),
    ("trace", "improper"),
    ("trace", "beta"),
    ("trace", "repeated"),
    ("one particle", "subsampled"),
    ("not vectorised", "location"),
    ("mean field", "hierarchy"),
    ("graph", "location"),
    ("mean field", "repeated"),
    ("renyi", "repeated"),
    ("renyi", "local"),
    ("renyi", "location"),
]


def _value_and_gradient(objective, pair, params):
    model, guide = PAIRS[pair]

    # Compiling is most of the time of these tests.
    @functools.partial(jax.jit, compiler_options=known_options(ONCE))
    def both(key):
        return jax.value_and_grad(lambda p: objective.loss(key, p, model, guide, Y))(params)

    return both


@pytest.mark.parametrize(("name", "pair"), CASES)
def test_loss_and_gradient_are_numpyros_on_the_same_noise(name, pair, same_to_rounding):
    ours, theirs, options = OBJECTIVES[name]
    params = param_values(PAIRS[pair][1])
    mine = _value_and_gradient(ours(**options), pair, params)
    reference = _value_and_gradient(theirs(**options), pair, params)
    for seed in SEEDS:
        (loss, gradient), (expected, slope) = (
            mine(jax.random.key(seed)),
            reference(jax.random.key(seed)),
        )
        same_to_rounding(loss, expected, np.float32)
        for key in params:
            same_to_rounding(gradient[key], slope[key], np.float32)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_by_site_adds_up_and_agrees(seed, same_to_rounding):
    model, guide = PAIRS["hierarchy"]
    params, key = param_values(guide), jax.random.key(seed)
    parts = Trace_ELBO(sum_sites=False).loss(key, params, model, guide, Y)
    expected = numpyro.infer.Trace_ELBO(sum_sites=False).loss(key, params, model, guide, Y)
    assert set(parts) == set(expected)
    for name in parts:
        same_to_rounding(parts[name], expected[name], np.float32)
    whole = Trace_ELBO().loss(key, params, model, guide, Y)
    same_to_rounding(sum(parts.values()), whole, np.float32)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_multi_sample_guide_sums_its_samples(seed, same_to_rounding):
    def guide(y):
        loc = numpyro.param("loc", 0.2)
        numpyro.sample("mu", dist.Normal(loc, 0.5).expand([4]))

    model = PAIRS["location"][0]
    arguments = (jax.random.key(seed), {"loc": 0.7}, model, guide, Y)
    ours = Trace_ELBO(num_particles=2, multi_sample_guide=True).loss(*arguments)
    theirs = numpyro.infer.Trace_ELBO(num_particles=2, multi_sample_guide=True).loss(*arguments)
    same_to_rounding(ours, theirs, np.float32)


def test_renyis_bound_refuses_to_subsample_rows_that_do_not_enclose_all():
    model, guide = PAIRS["subsampled"]
    with pytest.raises(ValueError, match="does not enclose every site"):
        RenyiELBO().loss(jax.random.key(0), param_values(guide), model, guide, Y)


def test_the_divergence_of_a_repeated_site_counts_every_repetition(same_to_rounding):
    def model(y):
        numpyro.sample("mu", dist.Normal(0.0, 2.0), sample_shape=(3,))

    def guide(y):
        numpyro.sample("mu", dist.Normal(0.2, 0.5), sample_shape=(3,))

    exact = np.log(2.0 / 0.5) + (0.5**2 + 0.2**2) / (2 * 2.0**2) - 0.5
    loss = TraceMeanField_ELBO().loss(jax.random.key(0), {}, model, guide, Y)
    same_to_rounding(loss, 3 * exact, np.float32)


def test_closed_form_divergences_leave_no_noise_where_all_is_known(same_to_rounding):
    def model(y):
        numpyro.sample("mu", dist.Normal(0.0, 2.0))

    guide = PAIRS["location"][1]
    losses = [
        TraceMeanField_ELBO().loss(jax.random.key(s), param_values(guide), model, guide, Y)
        for s in SEEDS
    ]
    exact = np.log(2.0 / 0.5) + (0.5**2 + 0.2**2) / (2 * 2.0**2) - 0.5
    same_to_rounding(losses, np.full(len(SEEDS), exact), np.float32)
