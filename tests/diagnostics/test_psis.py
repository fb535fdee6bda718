"""Importance weights: the arithmetic of arviz-stats, and what can be known of it exactly."""

import numpy as np
import pytest
from arviz_stats.base import array_stats
from seeds import EACH_SEED

from taut.diagnostics.psis import importance_weights, scalar_k_hat, smooth

DRAWS = 4096

RATIOS = {
    "narrow": lambda rng, n: 0.1 * rng.standard_normal(n),
    "normal": lambda rng, n: rng.standard_normal(n),
    "wide": lambda rng, n: 3.0 * rng.standard_normal(n) - 700.0,
    "heavy": lambda rng, n: np.log(rng.pareto(1.0, n) + 1.0),
    "bounded": lambda rng, n: np.log(rng.uniform(0.5, 1.0, n)),
}


@EACH_SEED
@pytest.mark.parametrize("kind", RATIOS)
def test_weights_and_k_hat_are_those_of_arviz_stats(kind, seed, same_to_rounding):
    # At these sizes 3 sqrt(draws) and draws / 5 are whole; elsewhere arviz-stats rounds the length
    # of the tail down, the paper and Taut round it up.
    for draws in (100, 400, DRAWS):
        ratios = RATIOS[kind](np.random.default_rng(seed), draws)
        expected, k_hat = array_stats.psislw(-ratios)  # arviz-stats takes log likelihoods
        log_weights, shape = smooth(ratios)
        same_to_rounding(np.exp(log_weights), np.exp(expected), condition=100)
        same_to_rounding(shape, k_hat, condition=100)


@pytest.mark.parametrize("noise", [0.0, 1e-15])
@EACH_SEED
def test_constant_ratios_have_no_tail(seed, noise, same_to_rounding):
    # arviz-stats refuses them, or fits a tail to rounding errors.
    ratios = -3.0 + noise * np.random.default_rng(seed).standard_normal(DRAWS)
    weights = importance_weights(ratios)
    assert weights.k_hat == -np.inf
    same_to_rounding(weights.effective, DRAWS)
    same_to_rounding(weights.elbo, (-3.0, 0.0))
    same_to_rounding(weights.log_evidence, (-3.0, 0.0))


@EACH_SEED
def test_bound_and_evidence_of_log_normal_weights(seed, within_error):
    # E log w = mu and log E w = mu + sd^2 / 2.
    mu, sd = -12.0, 0.6
    ratios = mu + sd * np.random.default_rng(seed).standard_normal(DRAWS)
    weights = importance_weights(ratios)
    within_error(weights.elbo[0], mu, weights.elbo[1])
    within_error(weights.log_evidence[0], mu + sd**2 / 2, weights.log_evidence[1])
    assert weights.elbo[0] < weights.log_evidence[0]
    assert weights.k_hat < weights.k_threshold == 0.7
    assert weights.efficiency == weights.effective / DRAWS


@pytest.mark.parametrize("kind", RATIOS)
def test_a_constant_factor_and_the_order_of_the_draws_do_not_matter(kind, same_to_rounding):
    rng = np.random.default_rng(4)
    ratios, order = RATIOS[kind](rng, DRAWS), rng.permutation(DRAWS)
    log_weights, shape = smooth(ratios)
    shifted, shifted_shape = smooth(ratios[order] + 50.0)
    # Adding 50 to numbers near 700 costs them a few digits.
    same_to_rounding(shifted, log_weights[order], condition=1000)
    same_to_rounding(shifted_shape, shape, condition=1000)
    same_to_rounding(np.exp(log_weights).sum(), 1.0)
    # Smoothing keeps the order of the draws.
    assert (np.diff(log_weights[np.argsort(ratios, kind="stable")]) >= 0).all()


def test_draws_of_density_zero_have_weight_zero():
    ratios = np.random.default_rng(0).standard_normal(DRAWS)
    ratios[::8] = -np.inf
    weights = importance_weights(ratios)
    assert (np.exp(weights.log_weights[::8]) == 0).all()
    assert weights.elbo[0] == -np.inf
    assert np.isfinite(weights.log_evidence).all()
    assert weights.effective < DRAWS


def test_few_draws_lower_the_threshold(same_to_rounding):
    weights = importance_weights(np.random.default_rng(0).standard_normal(100))
    same_to_rounding(weights.k_threshold, 0.5)


@EACH_SEED
def test_the_k_hat_of_a_scalar_is_the_heavier_of_two_tails(seed, within_error):
    rng = np.random.default_rng(seed)
    values = rng.standard_t(2, DRAWS)
    # The tail has shape 1 / 2; its estimate from 192 draws has an error of (1 + 1 / 2) / sqrt(192).
    shape = scalar_k_hat(values, np.zeros(DRAWS))
    within_error(shape, 0.5, 1.5 / np.sqrt(192))
    ratios = np.log(rng.pareto(1.0, DRAWS) + 1.0)
    assert scalar_k_hat(values, ratios) >= smooth(ratios)[1] > shape


def test_a_constant_has_the_shape_of_the_weights():
    log_weights = smooth(np.random.default_rng(0).normal(size=1000))[0]
    assert scalar_k_hat(np.ones(1000), log_weights) == smooth(log_weights)[1]


def test_what_lies_beyond_is_the_share_of_the_mass_in_heavy_draws():
    # Four draws of 50 times the others, and one of 5, whose weight is common.
    weights = np.ones(1000)
    weights[:4], weights[4] = 50.0, 5.0
    found = importance_weights(np.log(weights) - 3.0)
    assert found.beyond == pytest.approx((200.0 / weights.sum(), 100.0 / weights.sum()))
    assert importance_weights(np.zeros(100)).beyond == (0.0, 0.0)
