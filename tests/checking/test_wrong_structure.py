"""Wrong guides of models with plates, other supports, factors and discrete sites."""

import functools

import jax.numpy as jnp
import numpyro.distributions as dist
import pytest
from checking.programs import Y, guide_mu, local_model, plane, positive
from numpyro import factor, param, plate, sample
from numpyro.distributions import constraints

import taut


def test_a_factor_whose_parameters_reach_no_draw_is_not_a_density():
    def guide():
        a, b = positive("s1", 2.0), positive("s2", 2.0)
        x = sample("x", dist.Uniform(-10, 10))
        y = sample("y", dist.Uniform(-10, 10))
        factor("lf", -0.5 * ((x / a) ** 2 + (y / b) ** 2) - jnp.log(a * b))

    (error,) = taut.check(plane, guide).errors
    assert (error.kind, error.site) == ("factor", "lf")
    assert "no draw depends on 's1', 's2'. q is not normalised" in error.found
    assert "taut.guides.energy(" in error.fix


def test_a_factor_of_what_the_sampler_knows_is_a_term_of_the_elbo():
    def guide():
        loc = param("loc", 1.0)
        x = sample("x", dist.Normal(loc, 1.0))
        sample("y", dist.Normal(loc, 1.0))
        factor("pull", -(x**2))

    (warning,) = taut.check(plane, guide).problems
    assert (warning.severity, warning.kind) == ("warning", "factor")
    assert "does not change what is drawn" in warning.found


def own_minibatch(y):
    guide_mu()
    with plate("m", 20, subsample_size=5) as rows:
        sample("z", dist.Normal(param("z_loc", jnp.zeros(20))[rows], 1.0))


def other_minibatch(y):
    guide_mu()
    with plate("n", 20, subsample_size=4) as rows:
        sample("z", dist.Normal(param("z_loc", jnp.zeros(20))[rows], 1.0))


def no_plate(y):
    guide_mu()
    sample("z", dist.Normal(param("z_loc", jnp.zeros(5)), 1.0))


def by_position(y):
    guide_mu()
    with plate("n", 20, subsample_size=5):
        sample("z", dist.Normal(param("z_loc", jnp.zeros(5)), 1.0))


def other_size(y):
    guide_mu()
    with plate("n", 30, subsample_size=5) as rows:
        sample("z", dist.Normal(param("z_loc", jnp.zeros(30))[rows], 1.0))


@functools.cache
def local_report(guide):
    return taut.check(local_model, guide, Y)


@pytest.mark.parametrize(
    ("guide", "sentence"),
    [
        (own_minibatch, "the guide draws a minibatch of its own in plate 'm'"),
        (own_minibatch, "Write numpyro.plate('n', 20, subsample_size=5)"),
        (other_minibatch, "takes 4 of its 20 rows in the guide and 5 in the model"),
        (no_plate, "in the subsampled plate 'n' in the model but not in the guide"),
        (by_position, "a row for each row of the minibatch of plate 'n'"),
        (other_size, "plate 'n' has 30 rows in the guide and 20 in the model"),
    ],
)
def test_guide_and_model_must_use_the_same_minibatch(guide, sentence):
    report = local_report(guide)
    assert any(sentence in str(p) for p in report.errors), str(report)


def test_a_missing_plate_is_named_with_both_shapes():
    def rows_model():
        with plate("rows", 8):
            sample("theta", dist.Normal(0.0, 1.0))

    def guide():
        sample("theta", dist.Normal(param("loc", 0.0), 1.0))

    (error,) = taut.check(rows_model, guide).errors
    assert "shape () in the guide and shape (8,) (plates 'rows') in the model" in error.found
    assert error.fix == "Write it inside `with numpyro.plate('rows', 8):`, as in the model"


def test_exchanged_plates_are_named():
    def grid_model():
        with plate("r", 3), plate("c", 3):
            sample("theta", dist.Normal(0.0, 1.0))

    def guide():
        with plate("c", 3), plate("r", 3):
            sample("theta", dist.Normal(param("loc", 0.0), 1.0))

    (error,) = taut.check(grid_model, guide).errors
    assert "axes 'r', 'c' in the guide and 'c', 'r' in the model" in error.found


def test_another_event_dimension_is_a_warning():
    def rows_model():
        with plate("rows", 8):
            sample("theta", dist.Normal(0.0, 1.0))

    def guide():
        sample("theta", dist.Normal(param("loc", jnp.zeros(8)), 1.0).to_event(1))

    (warning,) = taut.check(rows_model, guide).problems
    assert "1 event dimension in the guide and 0 in the model" in warning.found


@pytest.mark.parametrize(
    ("prior", "family", "sentence"),
    [
        (dist.Uniform(0.0, 10.0), dist.Normal, "Uniform with support interval, 0 to 10"),
        (dist.Beta(2.0, 2.0), dist.Normal, "Beta with support unit_interval, 0 to 1"),
        (dist.Uniform(0.0, 1.0), dist.LogNormal, "LogNormal with support positive"),
        (dist.Normal(0.0, 1.0), dist.LogNormal, "narrower than the model's (Normal, real)"),
        (dist.Poisson(3.0), dist.Normal, "Normal with support real"),
    ],
)
def test_supports_are_compared(prior, family, sentence):
    def site_model():
        sample("x", prior)

    def guide():
        sample("x", family(param("loc", 0.5), 0.01))

    assert any(sentence in p.found for p in taut.check(site_model, guide).problems)


def test_a_support_that_depends_on_another_site_is_followed():
    def nested():
        top = sample("top", dist.Uniform(1.0, 2.0))
        sample("x", dist.Uniform(0.0, top))

    def guide():
        sample(
            "top", dist.Uniform(1.0, 1.0 + param("w", 1.0, constraint=constraints.unit_interval))
        )
        sample("x", dist.Uniform(0.0, 2.0 * param("v", 1.0, constraint=constraints.unit_interval)))

    problems = {p.site: p for p in taut.check(nested, guide).problems if p.kind == "support"}
    assert set(problems) == {"x"}
    # x is uniform up to 2 and top between 1 and 2: a quarter of the draws lie above top.
    share = float(problems["x"].found.split("% of its")[0].split()[-1]) / 100
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / 256) ** 0.5


def test_a_constraint_can_be_written_from_the_message():
    def site_model():
        sample("x", dist.Uniform(0.0, 10.0))

    def guide():
        sample("x", dist.Normal(param("loc", 0.5), 1.0))

    (error,) = taut.check(site_model, guide).errors
    assert error.fix == (
        "Write numpyro.sample('x', taut.guides.on_support(dist.Normal(loc, scale), "
        "dist.constraints.interval(0, 10)))"
    )


def test_discrete_sites_are_named():
    def discrete_model():
        z = sample("z", dist.Bernoulli(0.3))
        sample("x", dist.Normal(z, 1.0))

    def without():
        sample("x", dist.Normal(param("loc", 0.0), 1.0))

    def within():
        sample("z", dist.Bernoulli(param("p", 0.5, constraint=constraints.unit_interval)))
        sample("x", dist.Normal(param("loc", 0.0), 1.0))

    (error,) = taut.check(discrete_model, without).errors
    assert "the model's site 'z' is discrete and not in the guide" in error.found
    (warning,) = taut.check(discrete_model, within).problems
    assert (warning.severity, warning.kind) == ("warning", "discrete")
