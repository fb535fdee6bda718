"""A mixture with free weights, fitted."""

import functools

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints
from seeds import EACH_SEED

import taut
import taut.infer


def model():
    parts = [dist.Normal(-5.0, 1.0), dist.Normal(5.0, 1.0)]
    numpyro.sample("x", taut.guides.mixture([0.8, 0.2], parts))


def guide():
    w = numpyro.param("w", 0.5, constraint=constraints.unit_interval)
    a, b = numpyro.param("a", -4.0), numpyro.param("b", 4.0)
    numpyro.sample("x", taut.guides.mixture([w, 1 - w], [dist.Normal(a), dist.Normal(b)]))


@functools.cache
def svi():
    loss = taut.infer.Trace_ELBO(num_particles=50)
    return taut.infer.SVI(model, guide, numpyro.optim.Adam(lambda i: 0.1 * 0.01 ** (i / 800)), loss)


@EACH_SEED
def test_free_weights_are_learned(seed):
    result = svi().run(jax.random.key(seed), 800, progress_bar=False)
    # At the optimum every draw has the same weight, so the noise left is that of the score, over
    # the last steps of a rate that falls a hundredfold. The bar is the one set for such guides.
    assert abs(result.params["w"] - 0.8) < 0.005


def test_a_mixture_is_flagged_by_nothing():
    assert taut.check(model, guide).problems == ()


def test_the_density_is_the_weighted_sum(same_to_rounding):
    x = np.linspace(-6, 6, 9)
    want = 0.8 * np.exp(dist.Normal(-5.0).log_prob(x)) + 0.2 * np.exp(dist.Normal(5.0).log_prob(x))
    got = taut.guides.mixture([0.8, 0.2], [dist.Normal(-5.0), dist.Normal(5.0)]).log_prob(x)
    same_to_rounding(np.exp(got), want, np.float32)
