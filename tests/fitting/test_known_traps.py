"""Posteriors on which variational inference is known to go wrong in silence."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.special
from seeds import EACH_SEED, SEEDS

import taut

# What a reader of a posterior would notice.
MEAN_ERROR, SD_RATIOS = 0.15, (0.8, 1.25)

HOURS = np.array([1.17, 2.97, 3.26, 4.69, 5.83, 6.0, 6.41])
SCORES = np.array([78.93, 58.2, 67.47, 37.47, 45.65, 32.92, 29.97])

each_seed = EACH_SEED


def seven_points(x, y=None):
    """A regression whose slope a fixed number of small steps gets wrong by sign."""
    a = numpyro.sample("a", dist.Normal(0.0, 100.0))
    b = numpyro.sample("b", dist.Normal(0.0, 100.0))
    s = numpyro.sample("s", dist.HalfCauchy(5.0))
    numpyro.sample("y", dist.Normal(a + b * x, s), obs=y)


def _seven_points_exact():
    """Means, sds and kurtoses of a and b by quadrature over log s: given s they are Gaussian."""
    log_s = np.linspace(-3.0, 7.0, 4001)
    design = np.column_stack([np.ones(7), HOURS])
    log_weights, means, variances = [], [], []
    for s in np.exp(log_s):
        precision = design.T @ design / s**2 + np.eye(2) / 1e4
        covariance = np.linalg.inv(precision)
        mean = covariance @ design.T @ SCORES / s**2
        marginal = design @ design.T * 1e4 + s**2 * np.eye(7)
        quadratic = SCORES @ np.linalg.solve(marginal, SCORES)
        log_p = -0.5 * (np.linalg.slogdet(marginal)[1] + quadratic)
        log_weights.append(log_p - np.log1p((s / 5.0) ** 2) + np.log(s))
        means.append(mean)
        variances.append(np.diagonal(covariance))
    weights = scipy.special.softmax(log_weights)
    mean = weights @ np.array(means)
    offset, variances = np.array(means) - mean, np.array(variances)
    variance = weights @ (variances + offset**2)
    fourth = weights @ (3.0 * variances**2 + 6.0 * variances * offset**2 + offset**4)
    return mean, np.sqrt(variance), fourth / variance**2


@each_seed
def test_a_slope_has_the_right_sign(seed):
    mean, sd, kurtosis = _seven_points_exact()
    fit = taut.fit(seven_points, HOURS, y=SCORES, seed=seed, progress=False)
    assert fit.trust != "not trusted"
    for i, name in enumerate("ab"):
        assert abs(fit.mean(name) - mean[i]) < 0.1 * sd[i]
        # The sd of 1500 independent draws, which a fit has or more, has this relative error.
        error = np.sqrt((kurtosis[i] - 1.0) / (4.0 * 1500.0))
        assert fit.sd(name) == pytest.approx(sd[i], rel=5.0 * error)


def conjugate(error, y=None):
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(x, error), obs=y)


@pytest.mark.parametrize(("y", "error"), [(10.0, 0.5), (100.0, 1e-3), (100.0, 1e-5)])
@each_seed
def test_a_posterior_far_from_its_prior_is_reached(seed, y, error):
    fit = taut.fit(conjugate, error, y=y, seed=seed, progress=False)
    precision = 1.0 + error**-2
    mean, sd = y * error**-2 / precision, precision**-0.5
    assert fit.trust == "trusted"
    # What single precision can tell apart near y comes on top.
    rounding = 4.0 * np.finfo(np.float32).eps * y
    assert abs(fit.mean("x") - mean) < MEAN_ERROR * sd + rounding
    assert SD_RATIOS[0] * sd - rounding < fit.sd("x") < SD_RATIOS[1] * sd + rounding


def far_start(y=None):
    a = numpyro.sample("a", dist.Uniform(0.0, 1e6))
    s = numpyro.sample("s", dist.HalfNormal(10.0))
    with numpyro.plate("n", 50):
        numpyro.sample("obs", dist.Normal(a, s), obs=y)


@each_seed
def test_a_start_far_from_the_data_is_left(seed):
    y = 5.0 + np.random.default_rng(0).normal(size=50)
    fit = taut.fit(far_start, y=y, seed=seed, progress=False)
    assert fit.trust != "not trusted"
    # The prior of a is flat where the data are: a - mean(y) follows a t law nearly.
    error = y.std(ddof=1) / np.sqrt(50)
    assert abs(fit.mean("a") - y.mean()) < MEAN_ERROR * error
    assert fit.sd("a") == pytest.approx(error * np.sqrt(49 / 47), rel=0.1)


def two_modes(share):
    mixing = dist.Categorical(jnp.array([share, 1.0 - share]))
    numpyro.sample("x", dist.MixtureSameFamily(mixing, dist.Normal(jnp.array([-10.0, 10.0]), 1.0)))


@each_seed
def test_a_second_mode_is_held_or_the_one_gaussian_refused(seed):
    fit = taut.fit(two_modes, 0.5, seed=seed, progress=False)
    assert fit.trust == "trusted"
    assert fit.log_evidence[0] == pytest.approx(0.0, abs=0.01)
    assert fit.sd("x") == pytest.approx(np.sqrt(101.0), rel=0.05)
    one = taut.fit(two_modes, 0.5, guide="full-rank", seed=seed, progress=False)
    assert one.trust == "not trusted"
    assert "2 separate solutions" in str(one)


@each_seed
def test_no_alarm_is_raised_for_a_mode_without_mass(seed):
    fit = taut.fit(two_modes, 1.0, seed=seed, progress=False)
    assert fit.trust == "trusted"
    assert fit.guide_name == "full-rank"


def correlated(dim, rho):
    covariance = rho * np.ones((dim, dim)) + (1.0 - rho) * np.eye(dim)
    numpyro.sample("x", dist.MultivariateNormal(jnp.zeros(dim), jnp.asarray(covariance)))


@each_seed
def test_a_guide_that_is_exact_shows_no_noise_of_the_optimiser(seed):
    fit = taut.fit(correlated, 20, 0.5, seed=seed, progress=False)
    assert fit.trust == "trusted"
    assert abs(fit.elbo[0]) < 0.02
    assert fit.k_hat < 0.3


def test_one_posterior_gets_one_word():
    # Independent Gaussians for a correlation of 0.9: each sd is 0.44 of the truth.
    fits = [
        taut.fit(correlated, 2, 0.9, guide="mean-field", seed=seed, progress=False)
        for seed in SEEDS
    ]
    assert len({fit.trust for fit in fits}) == 1
    assert fits[0].trust != "trusted"
    for fit in fits:
        own = fit.sample(4000, corrected=False)["x"].std(axis=0)
        np.testing.assert_allclose(own, np.sqrt(1.0 - 0.9**2), rtol=0.1)
        # Linear response is exact for a Gaussian, whatever the fixed draws.
        (told,) = [finding for finding in fit.findings if finding.name == "linear response"]
        assert told.level == "doubt"
        assert told.value == pytest.approx((1.0 - 0.9**2) ** -0.5, rel=1e-3)
