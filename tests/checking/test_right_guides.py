"""Guides that are right, though some look odd: none has an error, most nothing at all."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest
from checking.programs import Y, guide, guide_a, guide_mu, guide_sigma, local_model, model, positive
from numpyro import deterministic, factor, handlers, param, plate, prng_key, sample
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import AffineTransform
from numpyro.infer import autoguide

import taut


def point_estimate(y):
    sample("a", dist.Delta(param("a_hat", 0.0)))
    guide_sigma()


def shifted_by_deterministic(y):
    deterministic("a", sample("u", dist.Normal(param("m", 0.0), positive("s"))) + 3.0)
    guide_sigma()


def with_its_jacobian(y):
    guide_a()
    u = sample("u", dist.Normal(param("m", 0.0), positive("s")))
    sample("sigma", dist.Delta(jnp.exp(u), log_density=-u))


def jacobian_by_factor(y):
    guide_a()
    u = sample("u", dist.Normal(param("m", 0.0), positive("s")), infer={"is_auxiliary": True})
    sample("sigma", dist.Delta(jnp.exp(u)))
    factor("jacobian", -u)


def transformed_distribution(y):
    guide_a()
    base = dist.Normal(param("m", 0.0), positive("s"))
    sample("sigma", dist.TransformedDistribution(base, biject_to(constraints.positive)))


def conditional(y):
    sigma = guide_sigma()
    sample("a", dist.Normal(param("loc", 0.0) + param("slope", 0.1) * sigma, positive("scale")))


def scale_through_softplus(y):
    sample("a", dist.Normal(param("loc", 0.0), jax.nn.softplus(param("raw", 0.0))))
    guide_sigma()


def scale_through_exp(y):
    sample("a", dist.Normal(param("loc", 0.0), jnp.exp(param("log_scale", 0.0))))
    guide_sigma()


def gamma(y):
    guide_a()
    sample("sigma", dist.Gamma(positive("shape", 2.0), positive("rate", 2.0)))


def shared_parameter(y):
    sample("a", dist.Normal(param("loc", 0.0), positive("scale")))
    sample("sigma", dist.LogNormal(param("loc", 0.0), positive("scale")))


def callable_first_value(y):
    sample("a", dist.Normal(param("loc", lambda key: jax.random.normal(key)), positive("scale")))
    guide_sigma()


def amortised(y):
    hidden = jnp.tanh(param("weights", 0.1 * jnp.ones((3, 20))) @ y)
    sample("a", dist.Normal(param("out", jnp.ones(3)) @ hidden, positive("scale")))
    guide_sigma()


def pair_from_two(y):
    u = sample("u", dist.MultivariateNormal(param("m", jnp.zeros(2)), jnp.eye(2)))
    sample("a", dist.Delta(u[0]))
    sample("sigma", dist.Delta(jnp.exp(u[1] + u[0]), log_density=-(u[1] + u[0])))


def leading_axis(y):
    sample("a", dist.Normal(param("loc", 0.0), positive("scale")))
    sample("sigma", dist.LogNormal(param("log_loc", 0.0), positive("sd")).expand([]))


def rotation(y):
    angle = param("angle", 0.3)
    u = sample("u", dist.Normal(jnp.zeros(2), positive("s", 1.0)).to_event(1))
    c, s = jnp.cos(angle), jnp.sin(angle)
    deterministic("a", c * u[0] - s * u[1])
    v = s * u[0] + c * u[1]
    sample("sigma", dist.Delta(jnp.exp(v), log_density=-v))


def shifted_lognormal(y):
    guide_a()
    base = dist.LogNormal(param("m", 0.0), positive("s"))
    sample("sigma", dist.TransformedDistribution(base, AffineTransform(0.1, 1.0)))


def density_of_its_own(y):
    # Drawn by hand, with the log density stated beside it.
    law = dist.Normal(param("loc", 0.0), positive("scale"))
    value = law.sample(prng_key())
    sample("a", dist.Delta(value, log_density=law.log_prob(value)))
    guide_sigma()


def mask_of_nothing(y):
    sample("a", dist.Normal(param("loc", 0.0), positive("scale")).mask(True))
    guide_sigma()


RIGHT = [
    guide,
    point_estimate,
    shifted_by_deterministic,
    with_its_jacobian,
    jacobian_by_factor,
    transformed_distribution,
    conditional,
    scale_through_softplus,
    scale_through_exp,
    gamma,
    shared_parameter,
    callable_first_value,
    amortised,
    pair_from_two,
    leading_axis,
    rotation,
    shifted_lognormal,
    density_of_its_own,
    mask_of_nothing,
]


@pytest.mark.parametrize("right", RIGHT)
def test_a_right_guide_has_no_problem(right):
    report = taut.check(model, right, Y)
    assert report.problems == ()
    assert str(report) == "the guide fits the model: no problems found"


def no_jacobian(y):
    guide_a()
    u = sample("u", dist.Normal(param("m", 0.5), positive("s", 0.3)))
    sample("sigma", dist.Delta(jnp.exp(u)))


def scaled_by_a_parameter(y):
    u = sample("u", dist.Normal(0.0, 1.0))
    deterministic("a", param("m", 0.5) + positive("s", 1.0) * u)
    guide_sigma()


def one_of_two(y):
    u = sample("u", dist.Normal(param("m", 0.0), positive("s")))
    v = sample("v", dist.Normal(param("n", 0.0), positive("t")))
    deterministic("a", 3.0 * u)
    sample("sigma", dist.Delta(jnp.exp(v + u), log_density=-(v + u)))


@pytest.mark.parametrize("right", [no_jacobian, scaled_by_a_parameter, one_of_two])
def test_a_jacobian_left_to_taut_is_a_note(right):
    report = taut.check(model, right, Y)
    (note,) = report.problems
    assert report.ok
    assert report.notes == (note,)
    assert str(report).startswith("1 note\n1. note: ")
    assert "Taut adds -log|det J|" in note.found
    assert "which NumPyro leaves out" in note.found


def test_rows_of_a_minibatch_keep_the_density_they_were_given():
    def local(y):
        guide_mu()
        loc = param("locs", jnp.zeros(20))
        with plate("n", 20, subsample_size=5) as rows:
            u = sample("u", dist.Normal(loc[rows], 1.0))
            sample("z", dist.Delta(jnp.sinh(u), log_density=-jnp.log(jnp.cosh(u))))

    assert taut.check(local_model, local, Y).errors == ()


def test_a_local_latent_with_its_rows_has_no_problem():
    def rows_guide(y):
        guide_mu()
        loc = param("z_loc", jnp.zeros(20))
        with plate("n", 20, subsample_size=5) as rows:
            sample("z", dist.Normal(loc[rows], 1.0))

    assert taut.check(local_model, rows_guide, Y).problems == ()


def test_subsampled_parameters_have_no_problem():
    def rows_guide(y):
        guide_mu()
        with plate("n", 20, subsample_size=5):
            loc = param("z_loc", jnp.zeros(20), event_dim=0)
            sample("z", dist.Normal(loc, 1.0))

    assert taut.check(local_model, rows_guide, Y).problems == ()


def test_a_numpyro_guide_has_no_problem():
    assert taut.check(model, autoguide.AutoNormal(model), Y).problems == ()


def only_a(y):
    guide_a()


def test_an_improper_prior_in_the_model_is_allowed():
    def improper_model(y):
        a = sample("a", dist.ImproperUniform(constraints.real, (), ()))
        sample("y", dist.Normal(a, 1.0).expand([20]).to_event(1), obs=y)

    assert taut.check(improper_model, only_a, Y).problems == ()


def test_a_parameter_of_the_model_is_allowed():
    def learned(y):
        a = sample("a", dist.Normal(param("prior_loc", 0.0), 1.0))
        sample("y", dist.Normal(a, 1.0).expand([20]).to_event(1), obs=y)

    assert taut.check(learned, only_a, Y).problems == ()


def test_lists_and_columns_are_data_as_they_are_for_a_fit():
    def listed(x, y):
        slope = sample("slope", dist.Normal(0.0, 10.0))
        sample("y", dist.Normal(slope * x, 1.0).to_event(1), obs=y)

    def listed_guide(x, y):
        sample("slope", dist.Normal(param("loc", 0.0), positive("scale")))

    assert taut.check(listed, listed_guide, [1.0, 2.0], [2.0, 4.0]).problems == ()


def test_a_weight_that_both_have_has_no_problem():
    def tempered(y):
        with handlers.scale(scale=0.5):
            model(y)

    def tempered_guide(y):
        with handlers.scale(scale=0.5):
            guide(y)

    assert taut.check(tempered, tempered_guide, Y).problems == ()
    assert taut.check(tempered, guide, Y).problems == ()
