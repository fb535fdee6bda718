"""A full covariance from a mean-field Gaussian."""

import numpy as np
from batches import covariance, gaussian, log_gamma
from seeds import EACH_SEED, SEEDS

from taut.guides.mean_field import MeanFieldNormal
from taut.loop.dense import MOST_CURVATURE_WORK, DenseFit, affordable
from taut.loop.monitor import Monitor
from taut.loop.progress import Progress
from taut.loop.stages import Outcome
from taut.loop.verdict import Verdict
from taut.objectives.full_rank import FullRankFamily
from taut.objectives.linear_response import curvature_cost

DOUBLE = 4.0 * np.finfo(np.float64).eps
FITTED = Verdict(True, "converged", "the optimiser converged", 0.01)
DIM = 40


def _run(batch, loc, scale, seed, tolerance=0.01):
    monitor = Monitor(batch, Progress(False))
    fit = DenseFit(monitor, np.random.default_rng([seed, 2]), DOUBLE, tolerance)
    return fit.run(Outcome(MeanFieldNormal(loc, scale), FITTED)), monitor


def _divergence(guide, mean, cov):
    """From a Gaussian guide to a Gaussian posterior, nats."""
    own = guide.scale_tril @ guide.scale_tril.T
    inverse, offset = np.linalg.inv(cov), guide.loc - mean
    log_dets = np.linalg.slogdet(cov)[1] - np.linalg.slogdet(own)[1]
    return 0.5 * (np.trace(inverse @ own) + offset @ inverse @ offset - len(mean) + log_dets)


@EACH_SEED
def test_a_correlated_gaussian_is_found_though_the_means_are_off(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(DIM, DIM)) / np.sqrt(DIM) + 0.3 * np.eye(DIM)
    mean, cov = rng.normal(size=DIM), root @ root.T
    scale = 1.0 / np.sqrt(np.diagonal(np.linalg.inv(cov)))
    start = mean + 0.3 * scale * rng.normal(size=DIM)
    outcome, monitor = _run(gaussian(mean, cov), start, scale, seed)
    assert outcome.verdict.converged
    assert outcome.guide.name == "full-rank"
    assert list(outcome.rungs) == ["mean-field", "full-rank"]
    # One step on matched draws is exact for a Gaussian: what is left is rounding.
    assert _divergence(outcome.guide, mean, cov) < 1e-6
    # The curvature, and two sets of draws for the diagonal, both candidates and at most one step.
    most = curvature_cost(DIM) + 4 * 2 * FullRankFamily().first_draws(DIM)
    assert monitor.gradients <= most


def test_independent_coordinates_are_left_alone():
    mean, sd = np.zeros(DIM), np.ones(DIM)
    outcome, monitor = _run(gaussian(mean, np.eye(DIM)), mean, sd, 0)
    assert outcome.verdict == FITTED
    assert outcome.guide.name == "mean-field"
    assert monitor.gradients == 2 * FullRankFamily().first_draws(DIM)


def test_steps_are_no_longer_than_both_sets_of_draws_agree_on():
    # Independent log-gammas: the mean-field guide is the best Gaussian, and correlations would be
    # noise. What two sets of draws do not share must not be fitted.
    shape = 1.0
    loc, scale = np.full(DIM, np.log(shape) - 0.5 / shape), np.full(DIM, shape**-0.5)
    for seed in SEEDS:
        outcome, _ = _run(log_gamma(shape), loc, scale, seed)
        if outcome.guide.name == "full-rank":
            own = outcome.rungs["full-rank"].mean() - outcome.rungs["mean-field"].mean()
            assert own > 0.0


def test_a_saddle_keeps_the_diagonal_and_says_that_more_may_be_had():
    def saddle(z):
        pull = z[:, :1] * z[:, 1:2]
        gradients = -0.1 * z**3
        gradients[:, :1] += 3.0 * z[:, 1:2]
        gradients[:, 1:2] += 3.0 * z[:, :1]
        return (3.0 * pull[:, 0] - 0.025 * (z**4).sum(axis=1)), gradients

    outcome, _ = _run(saddle, np.zeros(4), np.full(4, 0.5), 0)
    assert outcome.guide.name == "mean-field"
    assert not outcome.verdict.converged


def test_what_is_affordable_follows_from_counted_work():
    assert affordable(1000, 1e5)
    assert not affordable(1000, MOST_CURVATURE_WORK / curvature_cost(1000) * 1.01)
    assert not affordable(4000, 1.0)


def test_a_spread_of_scales_does_not_matter():
    rng = np.random.default_rng(0)
    cov = covariance(DIM, rng)
    units = np.geomspace(1e-3, 1e3, DIM)
    cov = cov * np.outer(units, units)
    scale = 1.0 / np.sqrt(np.diagonal(np.linalg.inv(cov)))
    outcome, _ = _run(gaussian(np.zeros(DIM), cov), np.zeros(DIM), scale, 0)
    assert _divergence(outcome.guide, np.zeros(DIM), cov) < 1e-6
