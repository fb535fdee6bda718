"""Which tests against a support are left out of the density, and that none of the others is."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import biject_to, constraints, transforms

import taut
from taut.targets.bijection import latent_bijection

SUPPORTS = [
    constraints.unit_interval,
    constraints.interval(-2.0, 5.0),
    constraints.open_interval(1.0, 4.0),
    constraints.positive,
    constraints.simplex,
    constraints.independent(constraints.interval(0.0, 3.0), 1),
]


@pytest.mark.parametrize("support", SUPPORTS, ids=str)
def test_the_bijection_and_its_jacobian_are_numpyro_s(support, same_to_rounding):
    z = jnp.array([-30.0, -3.0, -0.5, 0.0, 0.7, 4.0, 20.0])
    ours, theirs = latent_bijection(support), biject_to(support)
    value = theirs(z)
    same_to_rounding(ours(z), value, np.float32)
    expected = theirs.log_abs_det_jacobian(z, value)
    same_to_rounding(ours.log_abs_det_jacobian(z, value), expected, np.float32)
    slopes = [
        jax.grad(lambda x, b=b: jnp.sum(b.log_abs_det_jacobian(x, b(x))))(z) for b in (ours, theirs)
    ]
    same_to_rounding(*slopes, np.float32)


def _density(model, *args):
    bound = taut.target(model, *args)
    # Compiled: run eagerly, NumPyro warns of values outside a support.
    return bound, lambda z: float(jax.jit(bound.log_density)(jnp.asarray(z, float)))


def test_observed_values_outside_a_support_that_depends_on_a_latent_have_no_density():
    def model(y):
        top = numpyro.sample("top", dist.Exponential(1.0))
        numpyro.sample("y", dist.Uniform(0.0, top), obs=y)

    _, density = _density(model, np.array([0.5, 2.0]))
    assert density([np.log(1.9)]) == -np.inf
    assert np.isfinite(density([np.log(2.1)]))


def test_the_base_of_a_transformed_distribution_keeps_its_support():
    # Its support is that of the transform's codomain, larger than the image of the base.
    def model():
        base = dist.Uniform(0.0, 1.0)
        numpyro.sample("a", dist.TransformedDistribution(base, transforms.ExpTransform()))

    _, density = _density(model)
    assert np.isfinite(density([0.5]))
    assert density([1.5]) == -np.inf


def test_components_of_a_mixture_keep_their_supports():
    def model():
        components = [dist.Uniform(0.0, 1.0), dist.Normal(0.0, 1.0)]
        mixing = dist.Categorical(probs=jnp.array([0.5, 0.5]))
        support = constraints.real
        numpyro.sample("a", dist.MixtureGeneral(mixing, components, support=support))

    _, density = _density(model)
    normal = -0.5 * np.log(2 * np.pi) + np.log(0.5)
    assert density([3.0]) == pytest.approx(normal - 4.5, rel=1e-6)
    assert density([0.0]) == pytest.approx(np.log(0.5 + np.exp(normal)), rel=1e-6)


def test_values_a_user_gives_are_tested_against_their_supports():
    def model():
        numpyro.sample("a", dist.HalfNormal(1.0))

    bound, _ = _density(model)
    assert jax.jit(bound.log_joint)({"a": jnp.array(-1.0)}) == -jnp.inf


def test_latents_need_no_test_in_the_traced_density():
    def model():
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        numpyro.sample("a", dist.Normal(0.0, scale).expand([3]).to_event(1))

    bound, _ = _density(model)
    text = str(jax.make_jaxpr(bound.log_density)(jnp.zeros(4)))
    assert "select_n" not in text
