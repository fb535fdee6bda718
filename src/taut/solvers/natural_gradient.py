"""Damped natural-gradient steps with a line search, on fixed noise.

For a Gaussian posterior one step from anywhere is exact, whatever the conditioning.
"""

import dataclasses

import numpy as np

from taut.objectives.matched_elbo import Batch, Evaluation, Family, evaluate

FLOOR = 0.05
TRIES = 8
BACKTRACK = 0.4


@dataclasses.dataclass(frozen=True)
class NaturalGradientState:
    """Where the solver is.

    Attributes:
        evaluation: the objective at the current guide.
        size: step size to try next, at most one.
        decrease: how much the last step lowered the loss.
        moved: whether the last step found a lower loss.
        tried: evaluations spent so far.
    """

    evaluation: Evaluation
    size: float = 1.0
    decrease: float = np.inf
    moved: bool = True
    tried: int = 0


class NaturalGradient:
    """The solver.

    Args:
        family: geometry of the guide.
        batch: batched log density and gradient.
        resolution: relative rounding error of a log density; smaller increases count as equal.
    """

    def __init__(self, family: Family, batch: Batch, resolution: float):
        self._family = family
        self._batch = batch
        self._resolution = resolution

    def init(self, evaluation: Evaluation) -> NaturalGradientState:
        """Start at an evaluated guide."""
        return NaturalGradientState(evaluation)

    def step(self, state: NaturalGradientState) -> NaturalGradientState:
        """Take one step, halving the size until the loss falls; `moved` is False if none does."""
        old = state.evaluation
        direction = self._family.natural_step(old)
        if direction is None:
            return dataclasses.replace(state, moved=False, decrease=0.0)
        size, tried = state.size, state.tried
        slack = self._resolution * abs(old.loss)
        for _ in range(TRIES):
            new = evaluate(self._batch, direction.guide(size, FLOOR), old.noise)
            tried += 1
            if new.loss < old.loss + slack:
                decrease = max(old.loss - new.loss, 0.0)
                return NaturalGradientState(new, min(1.0, 2.0 * size), decrease, True, tried)
            size *= BACKTRACK
        return NaturalGradientState(old, size, 0.0, False, tried)
