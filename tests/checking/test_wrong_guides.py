"""Guides that are wrong: each is named, with the sentence that says how."""

import functools

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest
from checking.programs import Y, guide_a, guide_sigma, model, positive
from numpyro import deterministic, param, plate, sample
from numpyro.distributions import constraints

import taut


def missing(y):
    guide_a()


def misspelt(y):
    guide_a()
    sample("sigmaa", dist.LogNormal(param("log_loc", 0.0), 0.1))


def extra(y):
    guide_a()
    guide_sigma()
    sample("b", dist.Normal(param("b_loc", 0.0), 1.0))


def wrong_shape(y):
    sample("a", dist.Normal(param("loc", jnp.zeros(3)), positive("scale")))
    guide_sigma()


def observed_site(y):
    guide_a()
    guide_sigma()
    with plate("n", 20):
        sample("y", dist.Normal(param("y_loc", 0.0), 1.0))


def observes(y):
    guide_a()
    guide_sigma()
    sample("extra", dist.Normal(param("e", 0.0), 1.0), obs=1.0)


def normal_on_positive(y):
    guide_a()
    sample("sigma", dist.Normal(param("s_loc", 0.5), 1.0))


def unconstrained_scale(y):
    sample("a", dist.Normal(param("loc", 0.0), param("sc", 1.0)))
    guide_sigma()


def moving_constraint(y):
    guide_a()
    mu = positive("mu", 0.5)
    sd = param("sd", 0.2, constraint=constraints.less_than(mu / 2))
    sample("sigma", dist.LogNormal(mu, sd))


def unused(y):
    guide_a()
    guide_sigma()
    param("orphan", 1.0)


def rounded(y):
    sample("a", dist.Normal(jnp.round(param("loc", 0.0)), 1.0))
    guide_sigma()


def no_parameters(y):
    sample("a", dist.Normal(0.0, 1.0))
    sample("sigma", dist.LogNormal(0.0, 1.0))


def improper(y):
    sample("a", dist.ImproperUniform(constraints.real, (), ()))
    guide_sigma()


def narrow(y):
    low = param("low", -1.0)
    sample("a", dist.Uniform(low, low + positive("width", 3.0)))
    guide_sigma()


def unordered_bounds(y):
    sample("a", dist.Uniform(param("low", -1.0), param("high", 3.0)))
    guide_sigma()


def negative_scale(y):
    sample("a", dist.Normal(param("loc", 0.0), param("sc", -1.0)))
    guide_sigma()


def outside_constraint(y):
    sample("a", dist.Normal(param("loc", 0.0), positive("sc", -1.0)))
    guide_sigma()


def not_finite(y):
    sample("a", dist.Normal(param("loc", jnp.nan), 1.0))
    guide_sigma()


def whole_number(y):
    sample("a", dist.Normal(param("loc", 0), positive("scale")))
    guide_sigma()


def declared_twice(y):
    sample("a", dist.Normal(param("loc", 0.0), positive("scale")))
    sample("sigma", dist.LogNormal(param("loc", 1.0), positive("sd")))


def reversed_jacobian(y):
    guide_a()
    u = sample("u", dist.Normal(param("m", 0.5), positive("s", 0.3)))
    sample("sigma", dist.Delta(jnp.exp(u), log_density=u))


def too_few_auxiliaries(y):
    u = sample("u", dist.Normal(param("m", 0.5), positive("s", 0.3)))
    sample("a", dist.Delta(u))
    sample("sigma", dist.Delta(jnp.exp(u)))


def from_a_kept_site(y):
    a = guide_a()
    deterministic("sigma", jnp.exp(a))


def too_many_auxiliaries(y):
    u = sample("u", dist.Normal(param("m", jnp.zeros(3)), 1.0).to_event(1))
    sample("a", dist.Delta(u.sum()))
    guide_sigma()


def squared(y):
    u = sample("u", dist.Normal(param("m", jnp.zeros(2)), 1.0).to_event(1))
    sample("a", dist.Delta(u[0] - u[1]))
    sample("sigma", dist.Delta(jnp.exp(2 * u[0] - 2 * u[1])))


def folded(y):
    guide_a()
    deterministic("sigma", sample("u", dist.Normal(param("m", 0.5), positive("s", 0.3))) ** 2)


def leftover_component(y):
    k = sample("k", dist.Categorical(jnp.array([0.3, 0.7])))
    u = sample("u", dist.Normal(param("m", 0.5), positive("s", 0.3)))
    deterministic("a", jnp.array([-1.0, 1.0])[k] + u)
    guide_sigma()


def half_a_jacobian(y):
    u = sample("u", dist.Normal(param("m", jnp.zeros(2)), 1.0).to_event(1))
    sample("a", dist.Delta(3.0 * u[0]))
    sample("sigma", dist.Delta(jnp.exp(u[0] + u[1]), log_density=-u[0] - u[1]))


def leftover_auxiliary(y):
    u = sample("u", dist.Normal(param("m", 0.5), positive("s", 0.3)))
    sample("a", dist.Normal(u, 1.0))
    guide_sigma()


def raising(y):
    guide_a()
    raise RuntimeError("no sigma today")


def same_name_twice(y):
    guide_a()
    guide_a()


def other_arguments():
    guide_a()
    guide_sigma()


def starts_where_no_density_is(y):
    sample("a", dist.Normal(param("loc", 1e30), 1.0))
    guide_sigma()


CASES = [
    (missing, "error", "missing", "'sigma' (shape (), support positive) is not in the guide"),
    (misspelt, "error", "misspelt", "samples 'sigmaa', which the model does not have (did"),
    (misspelt, "error", "misspelt", "(did you mean 'sigma'?), and does not sample"),
    (extra, "error", "extra", "the guide samples 'b', which the model does not have"),
    (wrong_shape, "error", "shape", "has shape (3,) in the guide and shape () in the model"),
    (observed_site, "error", "observed", "the guide samples 'y', which the model observes"),
    (observes, "error", "observed", "the guide's site 'extra' has obs="),
    (
        normal_on_positive,
        "error",
        "support",
        "Normal with support real in the guide and HalfNormal",
    ),
    (normal_on_positive, "error", "support", "% of its draws lie outside"),
    (normal_on_positive, "error", "support", "Write numpyro.sample('sigma', dist.LogNormal("),
    (
        unconstrained_scale,
        "warning",
        "argument",
        "'sc' is used as a scale (site 'a', Normal) but is",
    ),
    (unconstrained_scale, "warning", "argument", "constraint=dist.constraints.positive)"),
    (moving_constraint, "warning", "constraint", "of parameter 'sd' depends on parameter 'mu'"),
    (moving_constraint, "warning", "argument", "'sd' is used as a scale"),
    (unused, "warning", "unused", "'orphan' is used nowhere in a distribution or value"),
    (rounded, "warning", "unused", "'loc' is used only through operations without a gradient"),
    (no_parameters, "warning", "unused", "the guide has no parameters"),
    (observes, "warning", "unused", "'e' is used nowhere"),
    (unordered_bounds, "warning", "narrow", "narrower than the model's"),
    (improper, "error", "improper", "site 'a' is an ImproperUniform in the guide"),
    (narrow, "warning", "narrow", "narrower than the model's (Normal, real)"),
    (unordered_bounds, "warning", "argument", "'low' is used as a bound (site 'a', Uniform)"),
    (
        negative_scale,
        "error",
        "argument",
        "site 'a': the scale of Normal is invalid from the start",
    ),
    (
        outside_constraint,
        "error",
        "start",
        "'sc' starts at -1.0, outside its constraint (positive)",
    ),
    (not_finite, "error", "start", "'loc' starts at a value that is not finite (nan)"),
    (whole_number, "error", "start", "'loc' starts at whole numbers (0), which have no gradient"),
    (declared_twice, "warning", "start", "'loc' is declared twice, with different first values"),
    (reversed_jacobian, "error", "jacobian", "(the sign is reversed)"),
    (too_few_auxiliaries, "error", "density", "a, sigma are 2 numbers made from 1 auxiliary (u)"),
    (too_few_auxiliaries, "error", "density", "; no density exists"),
    (from_a_kept_site, "error", "density", "sigma is 1 number made from 0 auxiliaries"),
    (too_many_auxiliaries, "error", "density", "a is 1 number made from 3 auxiliaries (u)"),
    (squared, "error", "density", "a map whose determinant is zero everywhere"),
    (leftover_auxiliary, "warning", "auxiliary", "sites drawn given its value do not use it up"),
    (folded, "error", "density", "sigma is 1 number made from 1 auxiliary (u) by a map whose"),
    (folded, "error", "density", "different draws give the same value"),
    (leftover_component, "warning", "auxiliary", "'k', which the model does not have"),
    (leftover_component, "warning", "auxiliary", "as taut.guides.mixture without it"),
    (half_a_jacobian, "error", "jacobian", "a, sigma computed from u with log_density"),
    (raising, "error", "raised", "guide 'raising' raised RuntimeError at test_wrong_guides.py:"),
    (same_name_twice, "error", "raised", "all sites must have unique names but got `a` duplicated"),
    (other_arguments, "error", "arguments", "the guide cannot be called with these arguments"),
    (starts_where_no_density_is, "error", "density", "of model site 'a' is minus infinity"),
]


@functools.cache
def report_of(guide):
    return taut.check(model, guide, Y)


@pytest.mark.parametrize(("guide", "severity", "kind", "sentence"), CASES)
def test_a_wrong_guide_is_named(guide, severity, kind, sentence):
    found = [p for p in report_of(guide).problems if (p.severity, p.kind) == (severity, kind)]
    assert any(sentence in str(p) for p in found), str(report_of(guide))


@pytest.mark.parametrize("guide", dict.fromkeys(case[0] for case in CASES))
def test_a_report_prints_each_problem_with_its_fix_and_raises_its_errors(guide):
    report = report_of(guide)
    assert all(p.found in str(report) and p.fix in str(report) for p in report.problems)
    assert "Tracer" not in str(report)
    if report.ok:
        report.raise_()
    else:
        with pytest.raises(taut.InputError) as caught:
            report.raise_()
        assert len(caught.value.problems) == len(report.errors)


def test_a_wrong_guide_has_no_other_problem_than_its_own():
    # Each case has one mistake; where it shows in two ways, both are listed above.
    expected = {guide: {c[2] for c in CASES if c[0] is guide} for guide, *_ in CASES}
    assert {guide: {p.kind for p in report_of(guide).problems} for guide in expected} == expected


def test_all_problems_come_in_one_report():
    def guide(y):
        sample("a", dist.Normal(param("loc", jnp.zeros(2)), param("sc", 1.0)))
        sample("sigmaa", dist.LogNormal(0.0, 1.0))
        sample("y", dist.Normal(0.0, 1.0))

    report = taut.check(model, guide, Y)
    assert [p.kind for p in report.errors] == ["observed", "misspelt", "shape"]
    assert [p.kind for p in report.warnings] == ["argument"]


def test_a_prior_may_be_kept_by_name_only():
    assert taut.check(model, missing, Y, prior_ok={"sigma"}).ok
    with pytest.raises(taut.InputError, match=r"prior_ok names 'sigm'.*did you mean 'sigma'"):
        taut.check(model, missing, Y, prior_ok={"sigm"})
    with pytest.raises(taut.InputError, match=r"write prior_ok=\{'sigma'\}"):
        taut.check(model, missing, Y, prior_ok="sigma")


def test_what_is_no_guide_is_refused():
    with pytest.raises(taut.InputError, match=r"a guide is a function with numpyro\.sample"):
        taut.check(model, "full-rank", Y)


def test_a_model_that_fails_is_named():
    def failing(y):
        raise ValueError("bad data")

    (error,) = taut.check(failing, missing, Y).errors
    assert "model 'failing' raised ValueError" in error.found
    assert "bad data" in error.found


def test_a_repeated_check_says_the_same():
    assert str(taut.check(model, normal_on_positive, Y)) == str(report_of(normal_on_positive))


def test_numpyro_validation_is_as_it_was():
    before = numpyro.distributions.Distribution._validate_args
    taut.check(model, raising, Y)
    assert numpyro.distributions.Distribution._validate_args == before
