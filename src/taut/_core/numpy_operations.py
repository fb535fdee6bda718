"""Operations of traced functions as NumPy's: the arithmetic that indices are made with."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn


def numpy_operation(equation: JaxprEqn) -> Callable | None:
    """Return what makes an operation's result of its operands' values, or None for others.

    The result may be of another type than the operation's, which it is then to be made. What is
    picked by an index that is out of range is the first or the last.
    """
    make = _MADE.get(equation.primitive.name)
    if make is None:
        return None
    if make is _pick and equation.params["slice_sizes"] != (1,):
        return None  # from a matrix
    if make is _reshape and _rounds(equation):
        return None
    out: Any = equation.outvars[0].aval
    return functools.partial(make, equation.params, out.shape)


def _rounds(equation: JaxprEqn) -> bool:
    """Whether floats are made integers: XLA and NumPy differ where they are too large, or NaN."""
    avals: list[Any] = [v.aval for v in (*equation.invars, *equation.outvars)]
    before, after = (aval.dtype for aval in avals)
    return jnp.issubdtype(before, np.inexact) and not jnp.issubdtype(after, np.inexact)


def _broadcast(params: dict, shape: tuple[int, ...], value: np.ndarray) -> np.ndarray:
    spread = np.ones(len(shape), int)
    spread[list(params["broadcast_dimensions"])] = value.shape
    return np.broadcast_to(value.reshape(spread), shape)


def _each(operation: Callable) -> Callable:
    return lambda params, shape, *values: operation(*values)


def _reshape(params: dict, shape: tuple[int, ...], value: np.ndarray) -> np.ndarray:
    return value.reshape(shape)


def _slice(params: dict, shape: tuple[int, ...], value: np.ndarray) -> np.ndarray:
    steps = params["strides"] or (1,) * value.ndim
    ends = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
    return value[tuple(slice(*end) for end in ends)]


def _pick(params: dict, shape: tuple[int, ...], value: np.ndarray, index: np.ndarray) -> np.ndarray:
    return value[np.clip(index[..., 0], 0, len(value) - 1)].reshape(shape)


def _select(params: dict, shape: tuple[int, ...], which: np.ndarray, *cases: Any) -> Any:
    # Of two cases, which is faster than `choose` and all that indexing asks for.
    return np.where(which, *cases[::-1]) if len(cases) == 2 else np.choose(which, cases)


_COMPARED = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal}
_COMPARED |= {"gt": np.greater, "ge": np.greater_equal, "and": np.bitwise_and, "or": np.bitwise_or}
_COMPARED["xor"] = np.bitwise_xor
_COUNTED = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative}
_COUNTED |= {"max": np.maximum, "min": np.minimum, "not": np.invert}

_MADE: dict[str, Callable] = {
    **{name: _each(operation) for name, operation in (_COMPARED | _COUNTED).items()},
    "select_n": _select,
    "clamp": _each(lambda low, value, high: np.clip(value, low, high)),
    "convert_element_type": _reshape,  # to the type that the result has
    "reshape": _reshape,
    "squeeze": _reshape,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "gather": _pick,
    "concatenate": lambda params, shape, *values: np.concatenate(values, params["dimension"]),
    "stack": lambda params, shape, *values: np.stack(values, params["axis"]),
    "transpose": lambda params, shape, value: value.transpose(params["permutation"]),
}
