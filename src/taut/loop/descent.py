"""Descent on one fixed set of draws, no further than the draws can resolve."""

from collections.abc import Callable
from typing import Any

import numpy as np

from taut.loop.monitor import Monitor
from taut.solvers.lbfgs import Lbfgs

# Steps in a row that must gain next to nothing.
QUIET_STEPS = 2

# A step that finds no lower value ends a settled descent if a quadratic model expects this many
# goals of it at the most.
BLOCKED_GOALS = 10.0


def descend(
    start: Any,
    evaluate: Callable[[np.ndarray], Any],
    gradient: Callable[[np.ndarray, Any], np.ndarray],
    size: int,
    goal: Callable[[Any], float],
    monitor: Monitor,
    stage: str,
    resolution: float,
    evaluations: int,
    gradients: float = np.inf,
) -> tuple[Any, bool]:
    """Lower a loss by L-BFGS from the origin of a chart.

    Args:
        start: the evaluation at the origin.
        evaluate: from a point of the chart to the evaluation there, on the same draws.
        gradient: from a point and its evaluation to the gradient of the loss.
        size: number of coordinates.
        goal: decreases below this are beyond what the draws of an evaluation can resolve.
        monitor: where accepted steps are noted.
        stage: what they are noted as.
        resolution: relative rounding error of a loss.
        evaluations: how many it may take.
        gradients: count of the monitor after which it stops.

    Returns:
        The best evaluation, and whether the descent settled.
    """
    best = start

    def function(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        new = evaluate(point)
        if not np.isfinite(new.loss):
            return np.inf, np.zeros(size)
        if new.loss < best.loss:
            best = new
        return new.loss, gradient(point, new)

    origin = np.zeros(size)
    solver = Lbfgs(function, resolution)
    state = solver.init(origin, start.loss, gradient(origin, start))
    least, quiet = goal(start), 0
    while state.tried < evaluations:
        state = solver.step(state)
        if not state.moved:
            # No lower value along the direction: as low as these draws can resolve.
            return best, state.predicted < BLOCKED_GOALS * least
        if monitor.gradients > gradients:
            break
        monitor.record(best, stage)
        # What the draws can resolve changes as the guide comes nearer.
        least = goal(best)
        quiet = quiet + 1 if state.decrease < least and state.predicted < least else 0
        if quiet >= QUIET_STEPS:
            return best, True
    return best, False
