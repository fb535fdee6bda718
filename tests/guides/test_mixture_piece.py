"""Draws of a mixture carry exact gradients in all parameters, the weights included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from seeds import SEEDS

import taut

DRAWS = 4000

FACTOR = jnp.array([[1.0, 0.0], [0.5, 0.8]])
CENTRE = jnp.array([1.0, -1.0])


def scalar_mixture(weight, centre, scale):
    weights = jnp.stack([weight, 1.0 - weight])
    return taut.guides.mixture(weights, [dist.Normal(centre, scale), dist.Normal(-2.0, 1.0)])


def vector_mixture(weight, centre, factor):
    weights = jnp.stack([weight, 1.0 - weight])
    first = dist.MultivariateNormal(centre, scale_tril=factor)
    return taut.guides.mixture(weights, [first, dist.Normal(jnp.zeros(2), 1.0).to_event(1)])


def gradients(make, statistic, parameters, key):
    """The gradient of each draw's statistic, one row a draw."""

    def one(parameters, key):
        return statistic(make(*parameters).sample(key))

    found = jax.vmap(jax.grad(one), (None, 0))(parameters, jax.random.split(key, DRAWS))
    return jnp.concatenate([jnp.reshape(g, (DRAWS, -1)) for g in found], axis=1)


@functools.cache
def compiled(kind):
    if kind == "scalar":
        make, statistic, at = scalar_mixture, jnp.square, (0.3, 1.5, 0.7)
    else:
        make, statistic, at = vector_mixture, jnp.prod, (0.3, CENTRE, FACTOR)
    return jax.jit(lambda key: gradients(make, statistic, at, key))


# E[x^2] = w (m^2 + s^2) + (1 - w) (4 + 1); E[x y] = w (L00 L10 + m0 m1).
TRUTHS = {
    "scalar": np.array([1.5**2 + 0.7**2 - 5.0, 2 * 0.3 * 1.5, 2 * 0.3 * 0.7]),
    "vector": np.array([-0.5, -0.3, 0.3, 0.3 * 0.5, 0.0, 0.3 * 1.0, 0.0]),
}


@pytest.mark.parametrize("kind", TRUTHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_of_moments_are_right(kind, seed, within_error):
    rows = np.asarray(compiled(kind)(jax.random.key(seed)), float)
    error = rows.std(axis=0) / np.sqrt(DRAWS)
    # Entries that nothing depends on are exact zeros, and must be.
    error = np.where(error == 0, 1e-30, error)
    within_error(rows.mean(axis=0), TRUTHS[kind], error)


def test_draws_have_the_shares_and_moments_of_the_mixture(within_error):
    values = np.asarray(scalar_mixture(0.3, 1.5, 0.7).sample(jax.random.key(1), (DRAWS,)))
    within_error(values.mean(), 0.3 * 1.5 - 0.7 * 2.0, values.std() / np.sqrt(DRAWS))


@functools.cache
def fitter():
    """Climb the ELBO of a two-mode target from a poor start, by scaled gradient steps."""

    def log_p(x):
        return scalar_mixture_density(x)

    def scalar_mixture_density(x):
        parts = jnp.stack([dist.Normal(-5.0, 1.0).log_prob(x), dist.Normal(5.0, 1.0).log_prob(x)])
        return jax.nn.logsumexp(parts + jnp.log(jnp.array([[0.8], [0.2]])), axis=0)

    def elbo(parameters, key):
        w, a, b = jax.nn.sigmoid(parameters[0]), parameters[1], parameters[2]
        q = taut.guides.mixture(jnp.stack([w, 1 - w]), [dist.Normal(a, 1.0), dist.Normal(b, 1.0)])
        x = q.sample(key, (DRAWS,))
        return jnp.mean(log_p(x) - q.log_prob(x))

    def fit(key):
        def step(parameters, k):
            slope = jax.grad(elbo)(parameters, k)
            return parameters + 0.5 * slope / jnp.array([0.2, 0.5, 0.5]), None

        start = jnp.array([0.0, -4.0, 4.0])
        return jax.nn.sigmoid(jax.lax.scan(step, start, jax.random.split(key, 40))[0][0])

    return jax.jit(fit)


@pytest.mark.parametrize("seed", SEEDS)
def test_free_weights_are_learned(seed, within_error):
    # The last steps average over few draws: the error is that of a share among DRAWS draws.
    error = np.sqrt(0.8 * 0.2 / DRAWS)
    within_error(fitter()(jax.random.key(seed)), 0.8, error)


def test_components_without_a_differentiable_cdf_leave_the_gradient_to_the_objective():
    gammas = taut.guides.mixture([0.5, 0.5], [dist.Gamma(2.0, 1.0), dist.Gamma(5.0, 1.0)])
    assert not gammas.has_rsample
    assert scalar_mixture(0.3, 1.0, 1.0).has_rsample
    assert vector_mixture(0.3, CENTRE, FACTOR).has_rsample
