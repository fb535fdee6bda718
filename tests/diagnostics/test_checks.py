"""What is run to check a guide, and which draws are returned."""

import numpy as np
from batches import covariance, gaussian, positive
from seeds import EACH_SEED

from taut.diagnostics.checks import TOO_EXPENSIVE, WEIGHED_DRAWS, choose_schedule, run_checks
from taut.diagnostics.walk import FULL, THIN
from taut.guides.full_rank import FullRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.loop.monitor import Monitor
from taut.loop.progress import Progress
from taut.loop.stages import Outcome
from taut.loop.verdict import Verdict

DIM = 3
CHEAP = 1e3
CONVERGED = Verdict(True, "converged", "converged", 0.0)


def _check(batch, guide, seed, work=CHEAP, wanted=True):
    monitor = Monitor(batch, Progress(False))
    rng = np.random.default_rng(seed)
    return run_checks(Outcome(guide, CONVERGED), wanted, monitor, work, rng, "Switched off.")


def _posterior(seed):
    rng = np.random.default_rng([seed, 1])
    return rng.normal(size=DIM), covariance(DIM, rng)


@EACH_SEED
def test_the_right_guide_is_worth_all_of_its_draws(seed, same_to_rounding):
    mean, cov = _posterior(seed)
    checks = _check(gaussian(mean, cov), FullRankNormal(mean, np.linalg.cholesky(cov)), seed)
    same_to_rounding(checks.weights.effective, WEIGHED_DRAWS, condition=100)
    same_to_rounding(checks.weights.log_evidence[0], 0.0, condition=100)
    assert checks.chains.settled
    assert checks.skipped == ""
    if checks.source == "weights":
        # All weights are one, so that resampling takes every draw once.
        np.testing.assert_array_equal(np.sort(checks.z, axis=0), np.sort(checks.weighed.z, axis=0))
    else:
        assert checks.source == "chains"
        assert checks.chains.effective >= checks.weights.effective - 1.0


@EACH_SEED
def test_a_guide_that_is_off_returns_draws_of_the_posterior(seed, within_error):
    mean, cov = _posterior(seed)
    batch = gaussian(mean, cov)
    sd = np.sqrt(np.diag(cov))
    checks = _check(batch, MeanFieldNormal(mean + 0.3 * sd, 0.6 * sd), seed)
    assert checks.source == "chains"
    assert len(checks.z) >= WEIGHED_DRAWS
    np.testing.assert_array_equal(checks.log_p, batch(checks.z)[0])
    by_chain = checks.z.reshape(-1, checks.independent, DIM).mean(axis=0)
    error = by_chain.std(axis=0, ddof=1) / np.sqrt(checks.independent)
    within_error(checks.z.mean(axis=0), mean, error)


@EACH_SEED
def test_too_wide_a_guide_starts_chains_where_the_posterior_is(seed):
    wide = MeanFieldNormal(np.zeros(DIM), np.full(DIM, 4.0))
    checks = _check(gaussian(np.zeros(DIM), np.eye(DIM)), wide, seed)
    assert checks.chains.settled
    # The chains began among draws of weight, so none is left far outside.
    assert np.abs(checks.chains.states).max() < 6.0 < np.abs(checks.weighed.z).max()


def test_few_chains_are_repeated_with_every_moment_kept(same_to_rounding):
    mean, cov = _posterior(0)
    sd = np.sqrt(np.diag(cov))
    work = 9e5  # dear enough for the thin schedule
    checks = _check(gaussian(mean, cov), MeanFieldNormal(mean, 0.6 * sd), 0, work)
    states = checks.chains.states.reshape(-1, DIM)
    assert checks.source == "chains"
    assert checks.independent == THIN.chains
    assert len(checks.z) >= WEIGHED_DRAWS > len(states)
    same_to_rounding(checks.z.mean(axis=0), states.mean(axis=0))
    same_to_rounding(checks.z.std(axis=0), states.std(axis=0))


def test_a_gradient_that_costs_too_much_leaves_the_weights_alone():
    mean, cov = _posterior(0)
    guide = FullRankNormal(mean, np.linalg.cholesky(cov))
    checks = _check(gaussian(mean, cov), guide, 0, work=2e6)
    assert checks.chains is None
    assert checks.skipped == TOO_EXPENSIVE
    assert checks.complete
    assert checks.source == "weights"


@EACH_SEED
def test_a_gradient_that_costs_much_is_spent_where_the_weights_leave_doubt(seed, within_error):
    mean, cov = _posterior(seed)
    sd = np.sqrt(np.diag(cov))
    checks = _check(gaussian(mean, cov), MeanFieldNormal(mean, 0.35 * sd), seed, work=1e7)
    assert checks.skipped == ""
    assert checks.chains is not None
    assert checks.source == "chains"
    assert checks.independent == THIN.chains
    by_chain = checks.z.reshape(-1, checks.independent, DIM).mean(axis=0)
    error = by_chain.std(axis=0, ddof=1) / np.sqrt(checks.independent)
    within_error(checks.z.mean(axis=0), mean, error)


def test_checks_that_are_not_wanted_leave_the_guides_own_draws():
    mean, cov = _posterior(0)
    checks = _check(
        gaussian(mean, cov), FullRankNormal(mean, np.linalg.cholesky(cov)), 0, wanted=False
    )
    assert (checks.chains, checks.skipped, checks.source) == (None, "Switched off.", "guide")
    assert not checks.complete
    assert checks.weights is not None
    np.testing.assert_array_equal(checks.z, checks.weighed.z)


def test_draws_of_density_zero_are_not_returned():
    checks = _check(
        positive(gaussian(np.zeros(1), np.eye(1))), MeanFieldNormal(np.zeros(1), np.ones(1)), 0
    )
    assert (checks.weighed.z < 0).any()
    assert (checks.z >= 0).all()
    assert np.isfinite(checks.log_p).all()


def test_a_density_that_is_zero_everywhere_is_not_weighed():
    def nowhere(z):
        return np.full(len(z), -np.inf), np.zeros_like(z)

    checks = _check(nowhere, MeanFieldNormal(np.zeros(1), np.ones(1)), 0)
    assert (checks.weighed, checks.weights, checks.chains) == (None, None, None)
    assert (checks.source, len(checks.z)) == ("guide", WEIGHED_DRAWS)


def test_the_schedule_follows_from_counted_work():
    assert choose_schedule(1e3, 1000) is FULL
    assert choose_schedule(5e5, 1000) is THIN
    # A fit that took many gradients affords a full check.
    assert choose_schedule(5e5, FULL.cost) is FULL
    assert choose_schedule(1e6, 1000) is THIN
    assert choose_schedule(1e9, 1000) is THIN
