"""Where draws are not smooth in the params, gradients still have the right mean.

The truth is found by summing over all outcomes, or by quadrature.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from taut._core.xla_options import ONCE, known_options
from taut.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO

DRAWS = 4000


def _gradients(objective, model, guide, params, name):
    """Gradients of the loss in one param, one per random key: (draws, ...)."""

    @functools.partial(jax.jit, compiler_options=known_options(ONCE))
    def many(keys):
        def one(key):
            return jax.grad(lambda p: objective.loss(key, p, model, guide))(params)[name]

        return jax.vmap(one)(keys)

    return np.asarray(many(jax.random.split(jax.random.key(3), DRAWS)), float)


def _check_mean(gradients, truth, within_error):
    error = gradients.std(axis=0, ddof=1) / np.sqrt(len(gradients))
    within_error(gradients.mean(axis=0), truth, error)


def switches():
    """Three independent switches, each with its own evidence, and one that reads the first."""
    with numpyro.plate("rows", 3):
        on = numpyro.sample("on", dist.Bernoulli(0.4))
        numpyro.sample("y", dist.Normal(on * 2.0, 1.0), obs=jnp.array([0.3, 1.5, 2.6]))
    numpyro.sample("late", dist.Bernoulli(0.3 + 0.5 * on[0]))


def switches_guide():
    logits = numpyro.param("logits", jnp.zeros(3))
    with numpyro.plate("rows", 3):
        on = numpyro.sample("on", dist.Bernoulli(logits=logits))
    numpyro.sample("late", dist.Bernoulli(0.5 + 0.2 * on[0]))


def _switches_outcomes(logits):
    """Log weight and log guide probability of all 16 outcomes."""
    every = jnp.stack(jnp.meshgrid(*[jnp.arange(2.0)] * 4, indexing="ij"), -1).reshape(16, 4)
    on, late = every[:, :3], every[:, 3]
    y = jnp.array([0.3, 1.5, 2.6])
    log_p = dist.Bernoulli(0.4).log_prob(on).sum(1) + dist.Normal(2 * on, 1.0).log_prob(y).sum(1)
    log_p += dist.Bernoulli(0.3 + 0.5 * on[:, 0]).log_prob(late)
    log_q = dist.Bernoulli(logits=logits).log_prob(on).sum(1)
    log_q += dist.Bernoulli(0.5 + 0.2 * on[:, 0]).log_prob(late)
    return log_p - log_q, log_q


LOGITS = jnp.array([0.4, -0.3, 0.9])


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("kind", [Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO])
def test_discrete_guides_have_the_gradient_of_the_sum_over_outcomes(kind, particles, within_error):
    def exact(logits):
        log_weight, log_q = _switches_outcomes(logits)
        return -jnp.sum(jnp.exp(log_q) * log_weight)

    objective = kind(num_particles=particles)
    found = _gradients(objective, switches, switches_guide, {"logits": LOGITS}, "logits")
    _check_mean(found, jax.grad(exact)(LOGITS), within_error)


def test_renyis_bound_has_the_gradient_of_its_mean_over_outcomes(within_error):
    alpha = 0.3

    def exact(logits):
        log_weight, log_q = _switches_outcomes(logits)
        pair = jnp.logaddexp(*((1 - alpha) * w for w in (log_weight[:, None], log_weight[None])))
        bound = (pair - jnp.log(2.0)) / (1 - alpha)
        return -jnp.sum(jnp.exp(log_q[:, None] + log_q[None]) * bound)

    objective = RenyiELBO(alpha, num_particles=2)
    found = _gradients(objective, switches, switches_guide, {"logits": LOGITS}, "logits")
    _check_mean(found, jax.grad(exact)(LOGITS), within_error)


def test_weighing_scores_by_what_they_influence_lowers_the_variance():
    arguments = (switches, switches_guide, {"logits": LOGITS}, "logits")
    whole, graph = (_gradients(kind(), *arguments) for kind in (Trace_ELBO, TraceGraph_ELBO))
    # Rows 1 and 2 influence only their own terms; the ratio's own error is a few parts in 100.
    assert (graph.var(axis=0)[1:] < 0.7 * whole.var(axis=0)[1:]).all()


def test_comparing_particles_lowers_the_variance():
    arguments = (switches, switches_guide, {"logits": LOGITS}, "logits")
    one, four = (_gradients(Trace_ELBO(num_particles=n), *arguments) for n in (1, 4))
    # Averaging alone would give a quarter.
    assert (four.var(axis=0) < 0.7 * one.var(axis=0) / 4).all()


def modes():
    numpyro.sample(
        "x", dist.MixtureSameFamily(dist.Categorical(jnp.array([0.8, 0.2])), dist.Normal(PLACES, 1))
    )


PLACES = jnp.array([-1.5, 1.0])


def _mixture(weight, shift):
    parts = [dist.Normal(-1.0 + shift, 1.2), dist.Normal(1.3, 0.8)]
    return dist.MixtureGeneral(dist.Categorical(jnp.stack([weight, 1 - weight])), parts)


def modes_guide():
    weight, shift = numpyro.param("weight", 0.5), numpyro.param("shift", 0.1)
    numpyro.sample("x", _mixture(weight, shift))


@pytest.mark.parametrize("name", ["weight", "shift"])
@pytest.mark.parametrize("particles", [1, 3])
def test_mixtures_have_the_gradient_of_the_integral(name, particles, within_error):
    params = {"weight": jnp.array(0.45), "shift": jnp.array(0.3)}
    grid = jnp.linspace(-9.0, 9.0, 4001)

    def exact(value):
        q = _mixture(**{**params, name: value})
        target = dist.MixtureSameFamily(
            dist.Categorical(jnp.array([0.8, 0.2])), dist.Normal(PLACES, 1.0)
        )
        log_q = q.log_prob(grid)
        return jnp.trapezoid(jnp.exp(log_q) * (log_q - target.log_prob(grid)), grid)

    objective = Trace_ELBO(num_particles=particles)
    found = _gradients(objective, modes, modes_guide, params, name)
    _check_mean(found, jax.grad(exact)(params[name]), within_error)


def turns():
    numpyro.sample("x", dist.VonMises(0.5, 2.0))


def turns_guide():
    numpyro.sample("x", dist.VonMises(numpyro.param("loc", 0.0), 1.5))


def test_continuous_draws_that_are_not_smooth_are_right_too(within_error):
    grid = jnp.linspace(-jnp.pi, jnp.pi, 2001)

    def exact(loc):
        log_q = dist.VonMises(loc, 1.5).log_prob(grid)
        return jnp.trapezoid(
            jnp.exp(log_q) * (log_q - dist.VonMises(0.5, 2.0).log_prob(grid)), grid
        )

    loc = jnp.array(0.2)
    found = _gradients(Trace_ELBO(num_particles=2), turns, turns_guide, {"loc": loc}, "loc")
    _check_mean(found, jax.grad(exact)(loc), within_error)
