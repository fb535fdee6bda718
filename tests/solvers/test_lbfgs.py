import numpy as np
import pytest

from taut.solvers.lbfgs import Lbfgs

RESOLUTION = 1e-15


def _run(function, start, steps):
    solver = Lbfgs(function, RESOLUTION)
    state = solver.init(start, *function(start))
    states = [state]
    for _ in range(steps):
        state = solver.step(state)
        states.append(state)
        if not state.moved or not state.gradient.any():
            break
    return states


def _quadratic(dim, condition, seed):
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    hessian = axes @ np.diag(np.geomspace(1.0, condition, dim)) @ axes.T
    middle = rng.normal(size=dim)

    def function(point):
        away = point - middle
        return 0.5 * away @ hessian @ away, hessian @ away

    return function, middle


def _rosenbrock(point):
    x, y = point
    value = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    gradient = np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])
    return value, gradient


def test_the_identity_hessian_takes_one_newton_step(same_to_rounding):
    middle = np.array([0.5, -1.0, 1.5])

    def function(point):
        return 0.5 * ((point - middle) ** 2).sum(), point - middle

    states = _run(function, np.zeros(3), 1)
    same_to_rounding(states[1].point, middle)
    same_to_rounding(states[0].predicted, function(np.zeros(3))[0])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_a_quadratic_is_minimised(condition, seed, same_to_rounding):
    function, middle = _quadratic(6, condition, seed)
    states = _run(function, np.zeros(6), 200)
    same_to_rounding(states[-1].value, 0.0)
    # The value resolves a point to the square root of its own rounding.
    same_to_rounding(states[-1].point, middle, condition=1e6)


@pytest.mark.parametrize("start", [(-1.2, 1.0), (0.0, 0.0), (3.0, -3.0)])
def test_the_valley_of_rosenbrock_is_followed_to_its_end(start, same_to_rounding):
    states = _run(_rosenbrock, np.array(start), 200)
    same_to_rounding(states[-1].value, 0.0)
    same_to_rounding(states[-1].point, np.ones(2), condition=1e5)
    assert states[-1].tried < 120


def test_values_never_rise_and_decreases_add_up(same_to_rounding):
    states = _run(_rosenbrock, np.array([-1.2, 1.0]), 200)
    values = np.array([state.value for state in states])
    slack = RESOLUTION * np.abs(values[:-1])
    assert (np.diff(values) <= slack).all()
    total = sum(state.decrease for state in states[1:])
    same_to_rounding(total, values[0] - values[-1])


def test_every_evaluation_is_counted():
    calls = []

    def function(point):
        calls.append(point)
        return _rosenbrock(point)

    states = _run(function, np.array([-1.2, 1.0]), 30)
    assert states[-1].tried == len(calls) - 1


def test_at_the_minimum_it_does_not_move():
    function, middle = _quadratic(4, 10.0, 0)
    states = _run(function, middle, 5)
    assert np.array_equal(states[-1].point, middle)
    assert states[-1].decrease == states[-1].predicted == 0.0


def test_points_out_of_bounds_are_backed_away_from(same_to_rounding):
    # Finite only for x > 0; a full step from 0.1 lands outside.
    def function(point):
        if point[0] <= 0:
            return np.inf, np.zeros(1)
        return point[0] - np.log(point[0]), 1.0 - 1.0 / point

    states = _run(function, np.array([5.0]), 100)
    same_to_rounding(states[-1].value, 1.0)
    assert all(np.isfinite(state.value) for state in states)


def test_without_a_lower_value_the_state_stays(same_to_rounding):
    # A gradient that points the wrong way: no step along it can succeed.
    def function(point):
        return float(point @ point), -2.0 * point

    states = _run(function, np.array([1.0, 2.0]), 3)
    assert len(states) == 2
    assert not states[1].moved
    assert states[1].decrease == 0.0
    assert np.array_equal(states[1].point, [1.0, 2.0])


def test_only_so_many_pairs_are_remembered():
    solver = Lbfgs(_rosenbrock, RESOLUTION, memory=3)
    state = solver.init(np.array([-1.2, 1.0]), *_rosenbrock(np.array([-1.2, 1.0])))
    for _ in range(8):
        state = solver.step(state)
    assert len(state.pairs) == 3
