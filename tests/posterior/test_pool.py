"""The stored draws: how they are chosen, counted and resampled."""

import numpy as np
import pytest
from seeds import EACH_SEED

from taut._core.resampling import resample
from taut.posterior.draws import Draws
from taut.posterior.pool import Pool

CHAINS, KEPT = 64, 8
DRAWS = CHAINS * KEPT


def _pool(values, source="guide", chains=DRAWS):
    z = np.zeros((DRAWS, 1))
    return Pool(values, z, np.zeros(DRAWS), source, chains)


def _numbered():
    number = np.arange(DRAWS)
    return _pool({"a": number, "b": np.stack([number, -number], axis=1)})


@EACH_SEED
def test_draws_are_taken_together_and_once(seed):
    taken = _numbered().take(100, np.random.default_rng(seed))
    assert len(np.unique(taken["a"])) == 100
    np.testing.assert_array_equal(taken["b"], np.stack([taken["a"], -taken["a"]], axis=1))
    everything = _numbered().take(DRAWS, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.sort(everything["a"]), np.arange(DRAWS))


def test_sites_lie_side_by_side_in_the_order_asked_for():
    pool = _numbered()
    flat = pool.flat(["b", "a"])
    number = np.arange(DRAWS, dtype=float)
    np.testing.assert_array_equal(flat, np.column_stack([number, -number, number]))
    assert len(pool) == DRAWS


@pytest.mark.parametrize("source", ["guide", "weights"])
def test_other_draws_are_worth_what_was_said_of_them(source):
    values = {"a": np.random.default_rng(0).normal(size=(DRAWS, 2, 3))}
    np.testing.assert_array_equal(_pool(values, source, 77).effective("a"), np.full((2, 3), 77.0))


@EACH_SEED
def test_independent_states_are_worth_all_of_them(seed, within_error):
    values = {"a": np.random.default_rng(seed).normal(size=(DRAWS, 2))}
    effective = _pool(values, "chains", CHAINS).effective("a")
    # A ratio of variances, of the means of so many chains: its relative error is sqrt(2 / chains).
    within_error(np.minimum(effective, DRAWS), DRAWS, DRAWS * np.sqrt(2.0 / CHAINS))
    assert effective.shape == (2,)
    assert (effective <= DRAWS).all()


@EACH_SEED
def test_states_repeated_within_a_chain_are_worth_one_a_chain(seed, same_to_rounding):
    # Row after row: the states of all chains, then their next states.
    states = np.tile(np.random.default_rng(seed).normal(size=CHAINS), KEPT)
    effective = _pool({"a": states}, "chains", CHAINS).effective("a")
    # Both variances are taken with one degree of freedom less, of the chains and of the rows.
    expected = CHAINS * ((DRAWS - CHAINS * 1.0 / CHAINS * KEPT) / (DRAWS - 1.0))
    same_to_rounding(effective, expected, condition=100)


def test_a_constant_is_known_exactly():
    pool = _pool({"a": np.full(DRAWS, 3.0), "b": np.arange(DRAWS)}, "chains", CHAINS)
    assert pool.effective("a") == DRAWS


@EACH_SEED
@pytest.mark.parametrize("n", [10, DRAWS, 3000])
def test_resampling_takes_each_row_as_often_as_its_weight_says(n, seed):
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=DRAWS)
    weights[::5] = 0.0
    weights /= weights.sum()
    with np.errstate(divide="ignore"):
        rows = resample(np.log(weights), n, rng)
    counts = np.bincount(rows, minlength=DRAWS)
    assert counts.sum() == n
    # Systematic resampling: the expected number, rounded up or down.
    assert (counts >= np.floor(n * weights - 1e-9)).all()
    assert (counts <= np.ceil(n * weights + 1e-9)).all()


def test_resampling_is_unbiased(within_error):
    weights = np.array([0.05, 0.15, 0.8])
    rng = np.random.default_rng(0)
    counts = [np.bincount(resample(np.log(weights), 2, rng), minlength=3) for _ in range(4000)]
    shares = np.array(counts) / 2.0
    error = shares.std(axis=0, ddof=1) / np.sqrt(len(shares))
    within_error(shares.mean(axis=0), weights, error)


def test_log_ratios_are_log_p_minus_log_q():
    draws = Draws(np.zeros((2, 1)), np.array([1.0, -np.inf]), np.array([0.5, 2.0]))
    np.testing.assert_array_equal(draws.log_ratios, [0.5, -np.inf])
