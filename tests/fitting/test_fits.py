"""Whole fits: right in either precision, the same for the same seed, of the guide asked for."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import taut

SEEDS = (0, 1, 2)
GUIDES = ("auto", "full-rank", "mean-field", "low-rank")
LATENTS = ("a", "b[0]", "b[1]")
SHARED = pathlib.Path(__file__).parents[1] / "conftest.py"


def _fit(regression, **options):
    return taut.fit(regression.model, regression.x, y=regression.y, progress=False, **options)


def _same_draws(one, two):
    for name, values in one.sample(1000).items():
        np.testing.assert_array_equal(values, two.sample(1000)[name])


@pytest.mark.parametrize("x64", [False, True], ids=["single", "double"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_conjugate_posterior_is_found(seed, x64, regression, within_error):
    with jax.enable_x64(x64):
        fit = _fit(regression, seed=seed)
        assert fit.trust == "trusted"
        assert fit.pool["a"].dtype == (np.float64 if x64 else np.float32)
        # The guide is exact but for rounding of the gradients.
        sd = np.sqrt(np.diag(regression.covariance))
        rounding = 1e-9 if x64 else 1e-4
        assert np.abs((fit.guide.mean() - regression.mean) / sd).max() < rounding
        assert np.abs(fit.guide.sd() / sd - 1.0).max() < rounding
        found = np.concatenate([[fit.mean("a")], fit.mean("b")])
        error = [fit.summary()[name]["mcse"] for name in LATENTS]
        within_error(found, regression.mean, error)
        # log p is a sum of terms about as large as itself.
        assert fit.elbo[0] == pytest.approx(regression.log_evidence, rel=rounding)
        assert fit.log_evidence[0] == pytest.approx(regression.log_evidence, rel=rounding)


@pytest.fixture(scope="module")
def fits(regression):
    """A fit with each guide."""
    return {guide: _fit(regression, guide=guide, seed=3) for guide in GUIDES}


@pytest.mark.parametrize("guide", ["full-rank", "mean-field", "low-rank"])
def test_the_same_seed_gives_the_same_bits_and_another_gives_others(guide, fits, regression):
    first, again, other = fits[guide], *(_fit(regression, guide=guide, seed=s) for s in (3, 4))
    _same_draws(first, again)
    for name in ("trust", "elbo", "log_evidence", "gradients"):
        assert getattr(first, name) == getattr(again, name)
    np.testing.assert_array_equal(first.trace.loss, again.trace.loss)
    assert not np.isin(other.sample(1000)["a"], first.sample(1000)["a"]).any()
    assert first.seed == 3


def test_another_process_gives_the_same_bits(regression_fit, run_python):
    # Hashes of strings differ from process to process, and so does the order of sets.
    code = (
        "import importlib.util, sys, taut\n"
        f"spec = importlib.util.spec_from_file_location('shared', {str(SHARED)!r})\n"
        "shared = importlib.util.module_from_spec(spec)\n"
        "sys.modules['shared'] = shared\n"
        "spec.loader.exec_module(shared)\n"
        "regression = shared.regression.__wrapped__()\n"
        "fit = taut.fit(regression.model, regression.x, y=regression.y, progress=False)\n"
        "print(fit.gradients, *(float(v).hex() for v in fit.sample(5)['a']))"
    )
    expected = [float(value).hex() for value in regression_fit.sample(5)["a"]]
    printed = run_python(code, PYTHONHASHSEED="1").split()
    assert printed == [str(regression_fit.gradients), *expected]


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_asked_for_is_the_guide_that_comes(guide, fits):
    fit = fits[guide]
    assert fit.guide_name == fit.guide.name == ("full-rank" if guide == "auto" else guide)
    assert fit.dim == 3
    assert fit.verdict.converged


def test_a_scalar_goes_by_the_name_it_has_in_the_summary(fits, same_to_rounding):
    fit = fits["full-rank"]
    same_to_rounding(fit.mean("b[1]"), fit.mean("b")[1])
    same_to_rounding(fit.sd("b[0]"), fit.sd("b")[0])
    same_to_rounding(fit.covariance("b[1]", "a"), fit.covariance()[[2, 0]][:, [2, 0]])
    for name in ("b[2]", "b[-1]", "b[", "a[0]", "c[0]"):
        with pytest.raises(taut.InputError, match=re.escape(f"the fit has no site {name!r}")):
            fit.mean(name)


def test_a_guide_that_is_off_gives_corrected_draws_all_the_same(fits, regression, within_error):
    fit = fits["mean-field"]
    assert fit.trust != "trusted"
    found = np.concatenate([[fit.mean("a")], fit.mean("b")])
    error = [fit.summary()[name]["mcse"] for name in LATENTS]
    within_error(found, regression.mean, error)


def three_hundred(y, spread):
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    with numpyro.plate("many", 299):
        a = numpyro.sample("a", dist.Normal(level, spread))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def test_three_hundred_latents_get_every_correlation_and_are_right():
    rng = np.random.default_rng(0)
    spread = 0.5
    y = 1.0 + spread * rng.normal(size=299) + rng.normal(size=299)
    fit = taut.fit(three_hundred, y, spread, progress=False)
    assert (fit.dim, fit.guide_name) == (300, "full-rank")
    assert fit.verdict.converged
    assert fit.trust in ("trusted", "usable")
    # y given the level has variance 1 + spread^2, and the level a standard normal prior.
    precision = 1.0 + 299 / (1.0 + spread**2)
    mean, sd = y.sum() / (1.0 + spread**2) / precision, precision**-0.5
    assert abs(fit.mean("level") - mean) < 0.15 * sd  # what trust promises
    assert 0.8 < fit.sd("level") / sd < 1.25
    shrunk = (y * spread**2 + mean) / (1.0 + spread**2)
    assert np.abs(fit.mean("a") - shrunk).max() < 0.15 * spread


def test_single_precision_that_is_not_enough_is_mended_and_said():
    def density(x):
        return -0.5 * jnp.sum((x - 1.0) ** 2) + 1e7

    fit = taut.fit(taut.from_log_density(density, np.zeros(2)), progress=False)
    (note,) = fit.notes
    assert note == (
        "computed in double precision, because in single a log density of size 1e+07 is rounded "
        "too much"
    )
    assert fit.trust == "trusted"
    assert fit.elbo[0] == pytest.approx(1e7 + np.log(2.0 * np.pi), abs=1e-6)
    assert fit.pool["x"].dtype == np.float64
    assert jnp.zeros(1).dtype == jnp.float32  # the user's own setting is back


def test_times_and_gradients_add_up(regression_fit):
    seconds = dict(regression_fit.seconds)
    total = seconds.pop("total")
    assert set(seconds) == {"model", "trace", "compile", "fit", "checks", "draws"}
    assert all(value >= 0 for value in seconds.values())
    assert sum(seconds.values()) <= total
    assert regression_fit.gradients > regression_fit.trace.gradients[-1] > 0


def test_what_is_required_comes_back_or_raises(regression_fit):
    for level in ("not trusted", "usable", "trusted"):
        assert regression_fit.require(level) is regression_fit
    with pytest.raises(taut.InputError, match="unknown level 'fine'; levels: not trusted"):
        regression_fit.require("fine")


def test_samples_are_rows_of_the_pool_and_more_are_drawn_when_asked_for(regression, regression_fit):
    stored = len(regression_fit.pool["a"])
    few, many = regression_fit.sample(10), regression_fit.sample(stored + 7)
    assert list(few) == ["a", "b", "line"]
    assert np.isin(few["a"], regression_fit.pool["a"]).all()
    assert len(many["a"]) == stored + 7
    for draws in (few, many):
        line = draws["a"][:, None] + draws["b"] @ regression.x.T
        np.testing.assert_allclose(draws["line"], line, rtol=1e-4, atol=1e-4)
    with pytest.raises(taut.InputError, match="2 problems") as caught:
        regression_fit.sample(0, seed=-1)
    assert caught.value.problems[0] == "n must be a whole number, one or more; got 0"
