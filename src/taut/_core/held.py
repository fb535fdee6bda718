"""Operations on constants of a traced function, computed at once by NumPy.

An index of groups that a model holds is moved, compared and made a matrix of zeros and ones in
every traced model, and by XLA's own interpreter before it compiles anything.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import JaxprEqn, Literal, Var

from taut._core.numpy_operations import numpy_operation

# Numbers of the largest constant that is computed or compared: it is written into the program.
_LARGEST = 2**14

# Kinds of numbers that are computed with: of tests, and whole ones.
_WHOLE = "biu"


class Constants:
    """The constants of a function, those of the same numbers held once.

    Attributes:
        kept: each constant's variable and value.
    """

    def __init__(self):
        self.kept: list[tuple[Var, Any]] = []
        self._values: dict[Var, np.ndarray] = {}
        self._alike: dict[Any, Var] = {}

    def hold(self, variable: Var, value: Any) -> Var:
        """Return the variable that stands for a constant, a new one if there is none yet.

        Args:
            variable: of the constant's type.
            value: the constant.
        """
        number = _known(value)
        aval: Any = variable.aval
        key = None if number is None else (aval, number.tobytes())
        if key is not None and key in self._alike:
            return self._alike[key]
        held = Var(variable.aval)
        self.kept.append((held, value))
        if number is not None:
            self._alike[key] = held
            if number.dtype.kind in _WHOLE:
                self._values[held] = number
        return held

    def computed(self, equation: JaxprEqn, inputs: Sequence[Any]) -> Var | None:
        """Return the variable of an operation's result, if it is a constant."""
        make = _operation(equation)
        if make is None:
            return None
        out: Any = equation.outvars[0].aval
        values = [self._value(atom) for atom in inputs]
        if out.size > _LARGEST or any(value is None for value in values):
            return None
        with np.errstate(over="ignore"):  # whole numbers go round, as JAX's do
            value = np.asarray(make(*values), out.dtype)
        return self.hold(equation.outvars[0], value) if value.shape == out.shape else None

    def _value(self, atom: Any) -> np.ndarray | None:
        if isinstance(atom, Literal):
            aval: Any = atom.aval
            return np.asarray(atom.val, aval.dtype) if aval.dtype.kind in _WHOLE else None
        return self._values.get(atom)


def _known(value: Any) -> np.ndarray | None:
    """Return a constant's numbers, if they are few."""
    if isinstance(value, Tracer) or not hasattr(value, "dtype"):
        return None
    if jnp.issubdtype(value.dtype, jax.dtypes.extended) or value.size > _LARGEST:
        return None
    return np.asarray(value)


def _operation(equation: JaxprEqn) -> Callable | None:
    """Return what makes a result of its operands' values; None where that is not known exactly."""
    name, params = equation.primitive.name, equation.params
    if name == "iota":
        return lambda: _counted(params["shape"], params["dimension"])
    if name == "select_n":
        return _selected
    return None if name == "gather" else numpy_operation(equation)


def _selected(which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    """Select as JAX does, which takes the nearest case where there is none of that number."""
    chosen = np.clip(which.astype(int), 0, len(cases) - 1)
    return np.take_along_axis(np.stack(cases), np.broadcast_to(chosen, (1, *cases[0].shape)), 0)[0]


def _counted(shape: tuple[int, ...], axis: int) -> np.ndarray:
    along = [length if i == axis else 1 for i, length in enumerate(shape)]
    return np.broadcast_to(np.arange(shape[axis]).reshape(along), shape)
