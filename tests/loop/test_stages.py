"""Fitting on growing draws: exact where it can be, within the tolerance where it cannot."""

import numpy as np
import pytest
from batches import covariance, gaussian, log_gamma, positive
from seeds import EACH_SEED, SEEDS

from taut.guides.full_rank import FullRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.loop.monitor import Monitor
from taut.loop.progress import Progress
from taut.loop.stages import MOST_DRAWS, GaussianFit, default_tolerance
from taut.objectives.full_rank import FullRankFamily
from taut.objectives.low_rank import LowRankFamily, default_rank, widen
from taut.objectives.matched_elbo import evaluate
from taut.objectives.mean_field import MeanFieldFamily

RESOLUTION = 4.0 * np.finfo(float).eps
TOLERANCE = 0.01

each_seed = EACH_SEED


def _fit(batch, seed, family=None, tolerance=TOLERANCE, halvings=np.inf):
    monitor = Monitor(batch, Progress(False))
    rng = np.random.default_rng(seed)
    family = FullRankFamily() if family is None else family
    return monitor, GaussianFit(family, monitor, rng, RESOLUTION, tolerance, halvings)


def _lost(loc, variance, shape):
    """ELBO below that of the best Gaussian, for log-gamma variables: exact."""

    def elbo(loc, variance):
        powers = np.exp(loc + 0.5 * variance)
        return (shape * loc - powers + 0.5 * np.log(variance)).sum()

    best = np.full(len(loc), 1.0 / shape)
    return elbo(np.log(shape) - 0.5 * best, best) - elbo(loc, variance)


def test_the_tolerance_grows_with_the_dimension():
    assert [default_tolerance(dim) for dim in (1, 20, 200)] == [0.01, 0.01, 0.1]


@each_seed
def test_a_gaussian_posterior_is_found_exactly_by_the_first_draws(seed, same_to_rounding):
    rng = np.random.default_rng([seed, 1])
    mean, cov = rng.normal(size=4), covariance(4, rng)
    monitor, fit = _fit(gaussian(mean, cov), seed)
    outcome = fit.run(FullRankNormal(np.full(4, 3.0), 0.1 * np.eye(4)))
    assert outcome.verdict.converged
    same_to_rounding(outcome.verdict.expected_gap, 0.0, condition=1e4)
    same_to_rounding(outcome.guide.loc, mean, condition=1e4)
    same_to_rounding(outcome.guide.scale_tril, np.linalg.cholesky(cov), condition=1e4)
    assert set(monitor.trace.build().draws.tolist()) == {32}


@each_seed
def test_independent_coordinates_get_the_conditional_widths(seed, same_to_rounding):
    rng = np.random.default_rng([seed, 1])
    mean, cov = rng.normal(size=4), covariance(4, rng)
    _, fit = _fit(gaussian(mean, cov), seed, MeanFieldFamily())
    outcome = fit.run(MeanFieldNormal(np.zeros(4), np.ones(4)))
    assert outcome.verdict.converged
    # On draws that are only matched in part, and up to the tolerance in nats of the true optimum.
    precision = np.linalg.inv(cov)
    offset = (outcome.guide.loc - mean) @ precision @ (outcome.guide.loc - mean)
    squares = outcome.guide.scale**2 * np.diag(precision)
    lost = 0.5 * offset + 0.5 * (squares - 1.0 - np.log(squares)).sum()
    assert 0.0 <= lost < 5.0 * TOLERANCE


@each_seed
def test_shared_directions_are_found_to_the_end(seed):
    # From draws too few for the dimension the fit comes far off, and its noise looks large. As it
    # comes nearer the noise falls, and what it may leave undone with it.
    dim, rng = 120, np.random.default_rng([seed, 1])
    factor = 20.0 * np.linalg.qr(rng.normal(size=(dim, 3)))[0]
    cov = np.eye(dim) + factor @ factor.T
    tolerance = default_tolerance(dim)
    monitor, fit = _fit(gaussian(np.zeros(dim), cov), seed, LowRankFamily(), tolerance)
    narrow = MeanFieldNormal(np.zeros(dim), 1.0 / np.sqrt(np.diag(np.linalg.inv(cov))))
    seen = evaluate(monitor, narrow, MeanFieldFamily().noise(512, narrow, rng))
    outcome = fit.run(widen(seen, default_rank(dim)))
    guide = outcome.guide
    fitted = np.diag(guide.scale**2) + guide.factor @ guide.factor.T
    ratio, offset = np.linalg.solve(cov, fitted), guide.loc @ np.linalg.solve(cov, guide.loc)
    lost = 0.5 * (np.trace(ratio) - dim + offset - np.linalg.slogdet(ratio)[1])
    assert outcome.verdict.converged
    assert lost < tolerance


@pytest.mark.parametrize("family", [FullRankFamily(), MeanFieldFamily()], ids=lambda f: f.name)
@pytest.mark.parametrize("shape", [0.7, 4.0])
def test_as_much_elbo_is_lost_as_expected_or_less(family, shape):
    lost, expected = [], []
    for seed in SEEDS:
        _, fit = _fit(log_gamma(shape), seed, family)
        start = FullRankNormal(np.zeros(3), np.eye(3))
        if family.name == "mean-field":
            start = MeanFieldNormal(np.zeros(3), np.ones(3))
        outcome = fit.run(start)
        assert outcome.verdict.reason == "converged"
        expected.append(outcome.verdict.expected_gap)
        cov = np.diag(outcome.guide.sd() ** 2)
        # What correlations lose: the entropy is half the log determinant of the covariance.
        extra = 0.0
        if family.name == "full-rank":
            root = outcome.guide.scale_tril
            extra = 0.5 * (np.log(np.diag(cov)).sum() - np.linalg.slogdet(root @ root.T)[1])
        lost.append(_lost(outcome.guide.loc, np.diag(cov), shape) + extra)
    assert min(lost) > -1e-12
    assert max(expected) <= TOLERANCE
    assert np.mean(lost) <= np.mean(expected)


def test_the_trace_says_what_was_done():
    monitor, fit = _fit(log_gamma(0.7), 0)
    fit.run(FullRankNormal(np.zeros(3), np.eye(3)))
    trace = monitor.trace.build()
    assert set(trace.stage) <= {"natural gradient", "l-bfgs", "polish"}
    assert {"natural gradient", "polish"} <= set(trace.stage)
    assert (np.diff(trace.gradients) >= 0).all()
    assert trace.gradients[-1] == monitor.gradients
    assert (np.diff(trace.draws) >= 0).all()
    same_draws = (np.diff(trace.draws) == 0) & (np.array(trace.stage[1:]) != "polish")
    assert (np.diff(trace.loss)[same_draws] <= 0).all()
    assert trace.loss[0] > trace.loss[-1]


def test_a_tolerance_that_no_draws_reach_is_said():
    monitor, fit = _fit(log_gamma(0.7), 0, tolerance=1e-7)
    outcome = fit.run(FullRankNormal(np.zeros(3), np.eye(3)))
    verdict = outcome.verdict
    assert (verdict.converged, verdict.reason) == (False, "gradients")
    assert 1e-7 < verdict.expected_gap < TOLERANCE
    assert monitor.trace.build().draws.max() == MOST_DRAWS


def test_a_density_without_a_best_gaussian_does_not_converge():
    def slope(z):
        return z.sum(axis=1), np.ones_like(z)

    _, fit = _fit(slope, 0)
    verdict = fit.run(FullRankNormal(np.zeros(2), np.eye(2))).verdict
    assert (verdict.converged, verdict.reason) == (False, "evaluations")


def test_a_guide_with_draws_outside_the_density_is_narrowed_or_given_up():
    batch = positive(gaussian(np.ones(2), np.eye(2)))
    start = FullRankNormal(np.ones(2), np.eye(2))
    _, patient = _fit(batch, 0)
    outcome = patient.run(start)
    assert patient.halvings > 0
    assert outcome.verdict.reason != "non-finite"
    assert outcome.guide.sd()[0] < 1.0
    _, strict = _fit(batch, 0, halvings=0)
    outcome = strict.run(start)
    assert (outcome.verdict.converged, outcome.verdict.reason) == (False, "non-finite")
    assert outcome.guide is start


@each_seed
def test_settling_stops_at_its_tolerance_or_its_steps(seed):
    start = FullRankNormal(np.full(3, -6.0), np.eye(3))
    losses = []
    for tolerance, steps in ((0.0, 1), (1e6, 15), (0.0, 15)):
        monitor, fit = _fit(log_gamma(4.0), seed)
        evaluation = fit.settle(start, 32, tolerance, steps)
        losses.append(evaluation.loss)
        assert len(monitor.trace.build()) <= steps
    assert losses[0] == losses[1] > losses[2]
