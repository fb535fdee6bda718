"""Short HMC: stationary on the right guide, drifting by the right amount from a wrong one."""

import dataclasses

import numpy as np
import pytest
from batches import covariance, gaussian, positive
from seeds import EACH_SEED

from taut.diagnostics.short_hmc import ShortHmc, continue_chains
from taut.diagnostics.walk import FULL, THIN, Walk
from taut.guides.full_rank import FullRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.triangular import TriangularFlow

DIM = 4

each_seed = EACH_SEED


def _posterior(seed):
    rng = np.random.default_rng([seed, 1])
    return rng.normal(size=DIM), covariance(DIM, rng)


def _run(batch, guide, seed, schedule=FULL):
    rng = np.random.default_rng(seed)
    start = guide.transform(rng.standard_normal((schedule.chains, guide.noise_dim)))
    hmc = ShortHmc(batch, guide, start, schedule, rng)
    return hmc, list(hmc.rounds())


def _check_moments(states, mean, variance, within_error):
    """The chains are independent: the spread of their means is the error of the overall mean."""
    count = states.shape[1]
    for values, truth in ((states, mean), ((states - mean) ** 2, variance)):
        by_chain = values.mean(axis=0)
        within_error(by_chain.mean(axis=0), truth, by_chain.std(axis=0, ddof=1) / np.sqrt(count))


@each_seed
@pytest.mark.parametrize("schedule", [FULL, THIN], ids=["full", "thin"])
def test_draws_of_the_right_guide_are_stationary(schedule, seed, within_error):
    mean, cov = _posterior(seed)
    guide = FullRankNormal(mean, np.linalg.cholesky(cov))
    batch = gaussian(mean, cov)
    _, rounds = _run(batch, guide, seed, schedule)
    # The rule for a settled round allows for noise, which it underestimates now and then.
    assert len(rounds) <= 2
    chains = rounds[-1]
    assert chains.settled
    assert chains.states.shape == (schedule.kept, schedule.chains, DIM)
    _check_moments(chains.states, mean, np.diag(cov), within_error)
    within_error(chains.mean_drift, 0.0, 1.0 / np.sqrt(chains.effective))
    np.testing.assert_array_equal(
        chains.log_p, [batch(states)[0] for states in chains.states], strict=True
    )


@each_seed
def test_a_wrong_guide_shows_as_a_drift_of_its_own_size(seed, within_error):
    mean, cov = _posterior(seed)
    sd = np.sqrt(np.diag(cov))
    guide = MeanFieldNormal(mean + 0.4 * sd, 0.7 * sd)
    _, rounds = _run(gaussian(mean, cov), guide, seed)
    chains = rounds[-1]
    assert chains.settled
    _check_moments(chains.states, mean, np.diag(cov), within_error)
    # In the guide's sds: the mean is 0.4 / 0.7 away, the sd is 1 / 0.7 of the guide's.
    error = 1.0 / np.sqrt(chains.effective)
    within_error(chains.mean_drift, -0.4 / 0.7, error / 0.7)
    within_error(chains.sd_ratio, 1.0 / 0.7, error / 0.7)


@each_seed
def test_far_from_the_posterior_the_first_round_does_not_settle(seed):
    mean, cov = _posterior(seed)
    sd = np.sqrt(np.diag(cov))
    _, rounds = _run(gaussian(mean, cov), MeanFieldNormal(mean + 10.0 * sd, 0.01 * sd), seed)
    assert not rounds[0].settled
    assert [chains.rounds for chains in rounds] == list(range(1, len(rounds) + 1))
    assert np.abs(rounds[0].mean_drift).max() > 1.0


def test_chains_that_cannot_move_do_not_settle():
    # The posterior is thousands of times narrower than the guide in one direction.
    guide = MeanFieldNormal(np.zeros(2), np.ones(2))
    batch = gaussian(np.zeros(2), np.diag([1.0, 1e-8]))
    schedule = dataclasses.replace(THIN, rounds=2)
    _, rounds = _run(batch, guide, 0, schedule)
    assert [chains.settled for chains in rounds] == [False, False]
    assert rounds[0].acceptance < 0.4 or rounds[0].memory > 0.5


@each_seed
def test_no_chain_enters_where_the_density_is_zero(seed, within_error):
    batch = positive(gaussian(np.zeros(1), np.eye(1)))
    rng = np.random.default_rng(seed)
    start = np.abs(rng.standard_normal((FULL.chains, 1)))
    guide = MeanFieldNormal(np.array([0.8]), np.array([0.6]))
    *_, chains = ShortHmc(batch, guide, start, FULL, rng).rounds()
    assert (chains.states >= 0).all()
    assert np.isfinite(chains.log_p).all()
    half_normal_mean = np.sqrt(2.0 / np.pi)
    _check_moments(chains.states, half_normal_mean, 1.0 - half_normal_mean**2, within_error)


def test_a_further_round_keeps_the_states_before_it(within_error):
    mean, cov = _posterior(0)
    batch, spent = gaussian(mean, cov), []

    def counted(z):
        spent.append(len(z))
        return batch(z)

    guide = FullRankNormal(mean, np.linalg.cholesky(cov))
    hmc, rounds = _run(counted, guide, 0)
    before = sum(spent)
    more = hmc.extend(rounds[-1])
    # It goes on with the step size found, so every iteration is kept.
    assert sum(spent) - before == FULL.further_cost
    scores = guide.scorer()(more.states.reshape(-1, DIM))
    np.testing.assert_array_equal(more.mean_drift, scores.mean(axis=0))
    np.testing.assert_array_equal(more.sd_ratio, scores.std(axis=0))
    assert more.rounds == rounds[-1].rounds + 1
    np.testing.assert_array_equal(more.states[: FULL.kept], rounds[-1].states)
    assert more.states.shape == (2 * FULL.kept, FULL.chains, DIM)
    assert more.log_p.shape == (2 * FULL.kept, FULL.chains)
    _check_moments(more.states, mean, np.diag(cov), within_error)


def test_chains_keep_where_they_walked(same_to_rounding):
    # A flow that is its Gaussian but for one skewed marginal; its noise is not its states.
    mean, cov = _posterior(0)
    gaussian_guide = FullRankNormal(mean, np.linalg.cholesky(cov))
    skew = np.array([0.5, 0.0, 0.0, 0.0])
    flow = dataclasses.replace(TriangularFlow.around(gaussian_guide), skew=skew)
    hmc, rounds = _run(gaussian(mean, cov), flow, 0)
    extended = hmc.extend(rounds[-1])
    for chains in (*rounds, extended, hmc.persist(extended)):
        assert chains.positions.shape == chains.states.shape
        same_to_rounding(flow.transform(chains.positions), chains.states, condition=100)


@each_seed
def test_settled_chains_are_continued_with_new_draws(seed, within_error):
    mean, cov = _posterior(seed)
    batch = gaussian(mean, cov)
    guide = FullRankNormal(mean, np.linalg.cholesky(cov))
    _, rounds = _run(batch, guide, seed)
    states = rounds[-1].states
    further, log_p = continue_chains(batch, guide, states, 5000, np.random.default_rng([seed, 3]))
    assert len(further) == 5120  # 20 states of 256 chains
    np.testing.assert_array_equal(log_p, batch(further)[0])
    assert not np.isin(further, states).any()
    _check_moments(further.reshape(-1, FULL.chains, DIM), mean, np.diag(cov), within_error)


@each_seed
def test_steps_that_are_far_too_long_are_counted(seed):
    # The energy of the narrow coordinate rises by about (0.5 / 1e-3)^2 in a step.
    narrow = gaussian(np.zeros(2), np.diag([1.0, 1e-6]))
    wide = gaussian(np.zeros(2), np.eye(2))
    guide = MeanFieldNormal(np.zeros(2), np.ones(2))
    start = np.random.default_rng(seed).standard_normal((FULL.chains, 2)) * [1.0, 1e-3]
    for batch, share in ((narrow, 1.0), (wide, 0.0), (positive(wide), 0.0)):
        walk = Walk(batch, np.abs(start), guide, FULL, np.random.default_rng(seed))
        assert walk.round(adapt=False).diverged == pytest.approx(share, abs=0.01)
