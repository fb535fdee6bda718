"""Limited-memory BFGS in coordinates where the Hessian is about the identity.

Written for charts of a guide: the first inverse Hessian is the identity, the step is capped, and
the line search expands as well as backtracks, without which a fit crawls along a funnel's valley.
Reference: Nocedal and Wright, Numerical Optimization, 2nd edition, algorithm 7.4.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

ARMIJO = 1e-4
LONGEST_STEP = 2.0
EXPANSIONS = 6
BACKTRACKS = 25

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class LbfgsState:
    """Where the solver is.

    Attributes:
        point: current coordinates (size,).
        value: the function there.
        gradient: its gradient there.
        pairs: remembered (step, gradient change, 1 / their product), oldest first.
        decrease: how much the last step lowered the function.
        moved: whether the last step found a lower value.
        tried: evaluations spent so far.
    """

    point: Float[np.ndarray, " size"]
    value: float
    gradient: Float[np.ndarray, " size"]
    pairs: tuple[tuple[np.ndarray, np.ndarray, float], ...] = ()
    decrease: float = np.inf
    moved: bool = True
    tried: int = 0

    @property
    def predicted(self) -> float:
        """The decrease a quadratic model expects of the next step."""
        return 0.5 * abs(float(self.gradient @ _newton(self.gradient, self.pairs)))


class Lbfgs:
    """The solver.

    Args:
        function: value and gradient at a point; a value of infinity is out of bounds.
        resolution: relative rounding error of a value; smaller increases count as equal.
        memory: how many pairs to remember.
    """

    def __init__(self, function: Function, resolution: float, memory: int = 30):
        self._function = function
        self._resolution = resolution
        self._memory = memory

    def init(self, point: np.ndarray, value: float, gradient: np.ndarray) -> LbfgsState:
        """Start at a point whose value and gradient are known."""
        return LbfgsState(point, value, gradient)

    def step(self, state: LbfgsState) -> LbfgsState:
        """Take one step; `moved` is False if no lower value was found along the direction."""
        pairs = state.pairs
        direction = -_newton(state.gradient, pairs)
        slope = float(state.gradient @ direction)
        if not slope < 0:
            pairs, direction = (), -state.gradient
            slope = float(state.gradient @ direction)
        largest = np.abs(direction).max()
        size = LONGEST_STEP / largest if largest > LONGEST_STEP else 1.0
        found = self._search(state, direction, slope, size)
        if found is None:
            return dataclasses.replace(
                state, moved=False, decrease=0.0, tried=state.tried + self._spent
            )
        size, value, gradient = found
        step, change = size * direction, gradient - state.gradient
        product = float(step @ change)
        if product > 1e-10 * np.sqrt((step @ step) * (change @ change)):
            pairs = (*pairs, (step, change, 1.0 / product))[-self._memory :]
        decrease = max(state.value - value, 0.0)
        tried = state.tried + self._spent
        return LbfgsState(state.point + step, value, gradient, pairs, decrease, True, tried)

    def _search(
        self, state: LbfgsState, direction: np.ndarray, slope: float, size: float
    ) -> tuple[float, float, np.ndarray] | None:
        slack = self._resolution * abs(state.value)
        self._spent = 0
        for _ in range(BACKTRACKS):
            value, gradient = self._at(state, direction, size)
            if value <= state.value + ARMIJO * size * slope + slack:
                return self._expand(state, direction, slope, (size, value, gradient))
            size *= self._contraction(state.value, value, slope, size)
        return None

    def _expand(
        self,
        state: LbfgsState,
        direction: np.ndarray,
        slope: float,
        best: tuple[float, float, np.ndarray],
    ) -> tuple[float, float, np.ndarray]:
        # A slope that is still steep at the new point means a long valley: go further.
        longest = 8.0 * max(LONGEST_STEP, float(np.abs(direction).max()))
        for _ in range(EXPANSIONS):
            size, value, gradient = best
            still_steep = gradient @ direction < 0.7 * slope
            if not still_steep or size * np.abs(direction).max() > longest:
                break
            further, its_gradient = self._at(state, direction, 2.5 * size)
            if not further < value:
                break
            best = (2.5 * size, further, its_gradient)
        return best

    def _at(
        self, state: LbfgsState, direction: np.ndarray, size: float
    ) -> tuple[float, np.ndarray]:
        self._spent += 1
        return self._function(state.point + size * direction)

    @staticmethod
    def _contraction(old: float, new: float, slope: float, size: float) -> float:
        if not np.isfinite(new):
            return 0.2
        excess = new - old - slope * size
        if excess <= 0:
            return 0.5
        return float(np.clip(-slope * size / (2.0 * excess), 0.1, 0.5))


def _newton(
    gradient: np.ndarray, pairs: tuple[tuple[np.ndarray, np.ndarray, float], ...]
) -> np.ndarray:
    """Multiply a gradient by the inverse Hessian of the pairs, starting from the identity."""
    result = gradient.copy()
    weights = []
    for step, change, inverse in reversed(pairs):
        weight = inverse * (step @ result)
        weights.append(weight)
        result -= weight * change
    for (step, change, inverse), weight in zip(pairs, reversed(weights), strict=True):
        result += step * (weight - inverse * (change @ result))
    return result
