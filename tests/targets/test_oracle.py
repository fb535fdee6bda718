"""The batch function: any number of rows, evaluations under way at once, rows without a density."""

import jax.numpy as jnp
import numpy as np
import pytest

import taut
from taut.targets.oracle import Oracle

DIM = 3


def _log_density(z):
    """A standard normal one where the first coordinate is below two; nothing elsewhere."""
    inside = z[0] < 2.0
    return jnp.where(inside, -0.5 * (z**2).sum(), -jnp.inf)


@pytest.fixture(scope="module", params=[np.float32, np.float64])
def oracle(request):
    return Oracle(taut.from_log_density(_log_density, np.zeros(DIM)), request.param)


def _points(count, seed):
    points = np.random.default_rng(seed).standard_normal((count, DIM))
    points[:, 0] = np.minimum(points[:, 0], 1.9)
    return points


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_any_number_of_rows_is_evaluated(count, oracle, same_to_rounding):
    assert oracle.rows == 256
    points = _points(count, count)
    values, gradients = oracle(points)
    same_to_rounding(values, -0.5 * (points**2).sum(axis=1), oracle.dtype)
    same_to_rounding(gradients, -points, oracle.dtype)
    assert values.dtype == gradients.dtype == np.float64


def test_evaluations_may_be_under_way_at_once(oracle):
    points = [_points(count, count) for count in (10, 300, 700)]
    expected = [oracle(z) for z in points]
    begun = [oracle.begin(z) for z in points]
    # Whoever asks may change the points as soon as it is begun, and ask in any order.
    for z in points:
        z[:] = 0.0
    for each, (values, gradients) in reversed(list(zip(begun, expected, strict=True))):
        again = each()
        np.testing.assert_array_equal(again[0], values)
        np.testing.assert_array_equal(again[1], gradients)


def test_rows_without_a_density_leave_the_others_alone(oracle):
    points = _points(300, 0)
    expected = oracle(points)
    points[7, 0] = points[299, 0] = 3.0
    points[8] = np.nan
    values, gradients = oracle(points)
    lost = np.isin(np.arange(300), [7, 8, 299])
    assert (values[lost] == -np.inf).all()
    assert (gradients[lost] == 0.0).all()
    np.testing.assert_array_equal(values[~lost], expected[0][~lost])
    np.testing.assert_array_equal(gradients[~lost], expected[1][~lost])
