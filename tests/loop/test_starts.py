"""Starts, and the Gaussians found along their paths."""

import numpy as np
import pytest
from batches import covariance, gaussian, positive
from seeds import EACH_SEED

from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.progress import Progress
from taut.loop.starts import (
    LARGEST_FULL_RANK,
    RADIUS,
    SHRINKS,
    SPIKE_DROP,
    NoFiniteStart,
    _SpikeWatch,
    default_starts,
    draw_starts,
    search,
)
from taut.solvers.ascent import MOST_STEPS, Ascents, PathPoint

each_seed = EACH_SEED


def _monitor(batch):
    return Monitor(batch, Progress(False))


def _search(batch, dim, seed, count=4):
    monitor, rng = _monitor(batch), np.random.default_rng(seed)
    starts = draw_starts(monitor, dim, count, rng)
    return monitor, search(monitor, starts, rng)


def _finite_within(radius):
    def batch(z):
        inside = np.abs(z).max(axis=1) < radius
        return np.where(inside, 0.0, -np.inf), np.zeros_like(z)

    return batch


def test_more_starts_where_they_are_cheap():
    assert [default_starts(dim) for dim in (1, 50, 51, 1000)] == [8, 8, 4, 4]


@each_seed
def test_the_first_start_is_zero_and_the_others_surround_it(seed):
    batch = gaussian(np.zeros(3), np.eye(3))
    starts = draw_starts(_monitor(batch), 3, 8, np.random.default_rng(seed))
    assert (starts[0] == 0).all()
    assert (np.abs(starts) < RADIUS).all()
    assert len(np.unique(starts[1:], axis=0)) == 7


@each_seed
def test_starts_of_no_finite_density_are_drawn_again_nearer_to_zero(seed):
    batch = _finite_within(0.4)
    starts = draw_starts(_monitor(batch), 2, 8, np.random.default_rng(seed))
    assert len(starts) == 8
    assert np.isfinite(batch(starts)[0]).all()


def test_starts_that_stay_bad_are_left_out():
    starts = draw_starts(_monitor(_finite_within(1e-6)), 2, 8, np.random.default_rng(0))
    np.testing.assert_array_equal(starts, np.zeros((1, 2)))


def test_no_finite_start_at_all_is_an_error():
    monitor = _monitor(_finite_within(0.0))
    with pytest.raises(NoFiniteStart):
        draw_starts(monitor, 2, 8, np.random.default_rng(0))
    assert monitor.gradients == 8 * (SHRINKS + 1)


@each_seed
def test_the_elbo_of_a_candidate_is_minus_its_divergence_from_a_gaussian_posterior(
    seed, same_to_rounding
):
    # On matched draws the expectation of a quadratic is exact.
    rng = np.random.default_rng([seed, 1])
    mean, cov = rng.normal(size=3), covariance(3, rng)
    monitor, candidates = _search(gaussian(mean, cov), 3, seed)
    for candidate in candidates:
        root = np.linalg.solve(np.linalg.cholesky(cov), candidate.guide.scale_tril)
        offset = np.linalg.solve(np.linalg.cholesky(cov), candidate.guide.loc - mean)
        log_det = np.linalg.slogdet(root)[1]
        divergence = 0.5 * ((root**2).sum() - 3.0 + offset @ offset) - log_det
        same_to_rounding(candidate.elbo, -divergence, condition=1000)
    elbos = [candidate.elbo for candidate in candidates]
    assert elbos == sorted(elbos, reverse=True)
    assert sorted(candidate.path for candidate in candidates) == [0, 1, 2, 3]
    assert monitor.best is candidates[0].guide


@each_seed
def test_the_best_candidate_has_learned_the_curvature(seed):
    # It beats the best Gaussian of one width for all coordinates, which knows the mean exactly.
    rng = np.random.default_rng([seed, 1])
    mean, cov = rng.normal(size=10), covariance(10, rng)
    _, candidates = _search(gaussian(mean, cov), 10, seed)
    variance = 10.0 / np.trace(np.linalg.inv(cov))
    assert candidates[0].elbo > -0.5 * (np.linalg.slogdet(cov)[1] - 10.0 * np.log(variance))


def _funnel(z):
    """Neal's funnel with nine narrow coordinates: its mode is at z[0] = -40.5, its mass near 0."""
    narrow = z[:, 1:]
    with np.errstate(over="ignore"):
        squares = (narrow**2).sum(axis=1) * np.exp(-z[:, 0])
        values = -(z[:, 0] ** 2) / 18.0 - 4.5 * z[:, 0] - 0.5 * squares
        gradients = np.column_stack(
            [-z[:, 0] / 9.0 - 4.5 + 0.5 * squares, -narrow * np.exp(-z[:, :1])]
        )
    finite = np.isfinite(values)
    return np.where(finite, values, -np.inf), np.where(finite[:, None], gradients, 0.0)


@each_seed
def test_a_funnel_is_started_where_its_mass_is(seed):
    _, candidates = _search(_funnel, 10, seed, count=8)
    assert np.abs(candidates[0].guide.loc[0]) < 40.5 / 4


def test_in_high_dimension_candidates_are_diagonal_and_curvatures_exact(same_to_rounding):
    # The gradient of a Gaussian is linear: its finite differences are exact but for rounding,
    # magnified by their step of a thousandth.
    dim = LARGEST_FULL_RANK + 4
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(size=dim), rng.uniform(0.3, 2.0, dim)
    _, candidates = _search(gaussian(mean, np.diag(sd**2)), dim, 0, count=2)
    for candidate in candidates:
        assert candidate.guide.name == "mean-field"
        same_to_rounding(candidate.guide.scale, sd, condition=1e4)


@pytest.mark.parametrize("stop", [OutOfTime, KeyboardInterrupt])
def test_a_search_that_is_stopped_leaves_the_best_so_far(stop):
    batch = gaussian(np.full(3, 5.0), np.eye(3))
    calls = []

    def stopping(z):
        calls.append(1)
        if len(calls) == 6:
            raise stop
        return batch(z)

    monitor, rng = _monitor(stopping), np.random.default_rng(0)
    starts = draw_starts(monitor, 3, 4, rng)
    with pytest.raises(stop):
        search(monitor, starts, rng)
    assert monitor.best is not None
    start, found = (batch(z)[0] for z in (starts, monitor.best.loc[None]))
    assert found > start.max()


def test_a_search_ends_on_a_density_without_a_mode():
    def slope(z):
        return z.sum(axis=1), np.ones_like(z)

    monitor, candidates = _search(slope, 2, 0)
    assert monitor.gradients < 4 * (MOST_STEPS + 2) + 4 * 2 * 12 * 16
    assert all(np.isfinite(candidate.elbo) for candidate in candidates)


def test_a_cut_off_density_is_climbed_from_inside():
    batch = positive(gaussian(np.full(2, 1.0), np.eye(2)))
    _, candidates = _search(batch, 2, 0)
    assert candidates[0].guide.loc[0] > 0
    assert np.isfinite(batch(candidates[0].guide.loc[None])[0]).all()


class _Climbing(Ascents):
    """Paths of which only the log densities change."""

    def __init__(self, paths):
        self.active = np.ones(paths, bool)

    def length(self, path):
        return 1

    def point(self, path, number):
        row = np.ones((1, 2))
        return PathPoint(row[0], row[0], row, row, self.log_density[path])


def _active_after(checks):
    climbing = _Climbing(len(checks[0]))
    watch = _SpikeWatch(len(checks[0]))
    for fallen in checks:
        climbing.log_density = np.where(fallen, -1.1 * SPIKE_DROP, 0.0)
        watch.retire(climbing)
    return climbing.active.tolist()


def test_a_path_is_given_up_once_the_mass_near_it_has_fallen_twice():
    assert _active_after([[False, False], [True, False]]) == [True, True]
    assert _active_after([[False, False], [True, False], [True, False]]) == [False, True]
    assert _active_after([[False], [True], [False], [True]]) == [True]


def test_a_spike_found_on_one_path_ends_all_that_fall():
    none = [False, False, False]
    # The second falls for the first time when the first has for the second.
    checks = [none, [True, False, False], [True, True, False]]
    assert _active_after(checks) == [False, False, True]
    # One that has recovered is not among them.
    assert _active_after([none, [True, True, False], [True, False, False]]) == [False, True, True]
