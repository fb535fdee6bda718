import numpy as np
import pytest

from taut.solvers.ascent import MOST_STEPS, Ascents


def _gaussian(dim, condition, seed, log_peak=3.0):
    """Log density with a peak of known height; rows come one by one, so their bits agree."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    precision = axes @ np.diag(np.geomspace(1.0, condition, dim)) @ axes.T
    mean = 2.0 * rng.normal(size=dim)

    def batch(z):
        gradients = np.array([-precision @ (row - mean) for row in z]).reshape(z.shape)
        values = [log_peak + 0.5 * g @ (row - mean) for g, row in zip(gradients, z, strict=True)]
        return np.array(values), gradients

    return batch, log_peak


def _points(ascents, path):
    return [ascents.point(path, number) for number in range(ascents.length(path))]


def _run(batch, starts):
    ascents = Ascents(batch, starts)
    for _ in range(MOST_STEPS):
        if not ascents.active.any():
            break
        ascents.step()
    return ascents


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("dim", "condition"), [(1, 1.0), (4, 10.0), (10, 1e4)])
def test_every_path_climbs_a_gaussian(dim, condition, seed):
    batch, peak = _gaussian(dim, condition, seed)
    starts = np.random.default_rng(seed).uniform(-2, 2, (8, dim))
    ascents = _run(batch, starts)
    assert not ascents.active.any()
    # A path stops when two steps in a row gained, and the next would gain, under 0.1 nat. What is
    # left is a few such steps, and in a badly conditioned valley little of what there was.
    climb = peak - batch(starts)[0]
    assert (peak + ascents.loss < 1.0 + 1e-3 * climb).all()
    assert (peak + ascents.loss >= -1e-9).all()


def test_each_path_records_where_it_was():
    batch, _ = _gaussian(5, 100.0, 1)
    ascents = _run(batch, np.random.default_rng(0).uniform(-2, 2, (4, 5)))
    for row in range(4):
        history = _points(ascents, row)
        densities = [point.log_density for point in history]
        assert densities == sorted(densities)
        assert np.array_equal(history[-1].position, ascents.position[row])
        for point in history:
            values, gradients = batch(point.position[None])
            assert values[0] == point.log_density
            assert np.array_equal(-gradients[0], point.gradient)
            # Only pairs of positive curvature are remembered.
            assert ((point.steps * point.changes).sum(axis=1) > 0).all()


def test_paths_do_not_know_of_each_other():
    batch, _ = _gaussian(5, 100.0, 2)
    starts = np.random.default_rng(1).uniform(-2, 2, (6, 5))
    together = _run(batch, starts)
    for row in range(6):
        alone = _run(batch, starts[row : row + 1])
        assert np.array_equal(alone.position[0], together.position[row])
        assert alone.length(0) == together.length(row)


def test_paths_reach_separate_modes():
    # A mixture of two distant Gaussians: each path ends in the mode on its side.
    def batch(z):
        near = np.where(z[:, 0] > 0, 6.0, -6.0)
        away = z - np.column_stack([near, np.zeros(len(z))])
        return -0.5 * (away**2).sum(axis=1), -away

    starts = np.array([[1.0, 1.0], [-1.0, 1.0], [2.0, -2.0], [-2.0, 0.0]])
    ascents = _run(batch, starts)
    assert np.array_equal(np.sign(ascents.position[:, 0]), [1, -1, 1, -1])
    assert (ascents.loss < 1.0).all()


def test_points_without_density_are_turned_down():
    # Log density of a positive value; everything left of zero is impossible.
    def batch(z):
        inside = z[:, 0] > 0
        safe = np.where(inside, z[:, 0], 1.0)
        values = np.where(inside, 2.0 * np.log(safe) - 30.0 * safe, -np.inf)
        return values, np.where(inside, 2.0 / safe - 30.0, 0.0)[:, None]

    ascents = _run(batch, np.array([[2.0], [0.5], [0.01]]))
    best = 2.0 * np.log(2.0 / 30.0) - 2.0
    assert (best + ascents.loss < 1.0).all()
    assert all((point.position > 0).all() for path in range(3) for point in _points(ascents, path))


def test_the_starts_are_not_changed():
    batch, _ = _gaussian(3, 10.0, 3)
    starts = np.ones((2, 3))
    _run(batch, starts)
    assert np.array_equal(starts, np.ones((2, 3)))
