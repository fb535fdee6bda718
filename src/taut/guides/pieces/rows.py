"""Whether a traced map treats the rows of its arguments one by one.

Read from the jaxpr: every operation must carry the axes that count rows through, and mix none of
them. A map of each number by itself is the case in which every axis counts rows. What cannot be
followed counts as mixing, so a yes can be relied on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from taut._core.dependence import called

_ELEMENTWISE = frozenset(
    """abs acos acosh add add_any asin asinh atan atan2 atanh cbrt copy cos cosh div
    convert_element_type erf erf_inv erfc exp exp2 expm1 integer_pow is_finite lgamma digamma
    log log1p log2 logistic max min mul ne eq lt le gt ge neg nextafter one_minus_square pow
    real rsqrt select_n sign sin sinh sqrt square stop_gradient sub tan tanh clamp and or
    not""".split()
)
_CALLS = frozenset({"jit", "pjit", "custom_jvp_call", "closed_call"})
_REDUCTIONS = frozenset({"reduce_sum", "reduce_prod", "reduce_max", "reduce_min"})
_ALONG_ONE_AXIS = frozenset({"cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"})

# Where in a value the axes are that count rows.
Axes = tuple[int, ...]


class _Mixed(Exception):
    """An operation mixes rows, or cannot be followed."""


def keeps_rows(closed: ClosedJaxpr, depth: int) -> bool:
    """Whether row i of every output depends on row i of the inputs alone.

    Args:
        closed: a map of arrays whose first `depth` axes, the same in all, count rows.
        depth: how many.
    """
    rows = tuple(range(depth))
    try:
        found = _follow(closed.jaxpr, [rows] * len(closed.jaxpr.invars))
    except _Mixed:
        return False
    return all(axes == rows for axes in found)


def _follow(jaxpr: Jaxpr, incoming: Sequence[Axes | None]) -> list[Axes | None]:
    """Return the row axes of each output; None where it depends on no row."""
    known: dict[Any, Axes] = {}
    for variable, axes in zip(jaxpr.invars, incoming, strict=True):
        if axes is not None:
            known[variable] = axes

    def axes_of(atom: Any) -> Axes | None:
        return None if isinstance(atom, Literal) else known.get(atom)

    for equation in jaxpr.eqns:
        inputs = [axes_of(v) for v in equation.invars]
        if all(axes is None for axes in inputs):
            continue
        for variable, axes in zip(equation.outvars, _step(equation, inputs), strict=True):
            if axes is not None:
                known[variable] = axes
    return [axes_of(v) for v in jaxpr.outvars]


def _step(equation: Any, inputs: list[Axes | None]) -> list[Axes | None]:
    name, params = equation.primitive.name, equation.params
    if name in _CALLS:
        inner = called(params)
        if inner is None or len(inner.invars) != len(inputs):
            raise _Mixed
        return _follow(inner, inputs)
    if name == "dot_general":
        return [_dot_general(equation, inputs)]
    if name in _ELEMENTWISE or name in ("concatenate", "stack"):
        live = {axes for axes in inputs if axes is not None}
        if len(live) > 1:
            raise _Mixed
        (axes,) = live
        if name == "stack":
            return [tuple(a + (a >= params["axis"]) for a in axes)]
        if params.get("dimension") in axes:
            raise _Mixed
        return [axes] * len(equation.outvars)
    axes = inputs[0]
    if axes is None or any(other is not None for other in inputs[1:]):
        raise _Mixed
    return [_move(equation, axes)] * len(equation.outvars)


def _move(equation: Any, axes: Axes) -> Axes:
    """Where the row axes of the first operand are after an operation on it alone."""
    name, params = equation.primitive.name, equation.params
    before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    if name == "broadcast_in_dim":
        moved = tuple(params["broadcast_dimensions"][a] for a in axes)
        if any(after[b] != before[a] for a, b in zip(axes, moved, strict=True)):
            raise _Mixed
        return moved
    if name == "transpose":
        return tuple(params["permutation"].index(a) for a in axes)
    if name == "reshape" and params.get("dimensions") is None:
        return tuple(_after_reshape(before, after, a) for a in axes)
    if name in ("squeeze", "unstack") or name in _REDUCTIONS:
        gone = {"squeeze": "dimensions", "unstack": "axis"}.get(name, "axes")
        gone = np.atleast_1d(params[gone]).tolist()
        if set(gone) & set(axes):
            raise _Mixed
        return tuple(a - sum(g < a for g in gone) for a in axes)
    if name in _ALONG_ONE_AXIS and params["axis"] not in axes:
        return axes
    if name == "rev" and not set(params["dimensions"]) & set(axes):
        return axes
    if name in ("slice", "dynamic_slice") and len(before) == len(after):
        # A row axis that is whole is not moved.
        if all(before[a] == after[a] for a in axes):
            return axes
    raise _Mixed


def _after_reshape(before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int:
    ahead = int(np.prod(before[:axis], dtype=int))
    for candidate, size in enumerate(after):
        if size == before[axis] and int(np.prod(after[:candidate], dtype=int)) == ahead:
            return candidate
    raise _Mixed


def _dot_general(equation: Any, inputs: list[Axes | None]) -> Axes:
    contracted, batched = equation.params["dimension_numbers"]
    shapes = [v.aval.shape for v in equation.invars]
    places: list[dict[int, int]] = []
    start = len(batched[0])
    for side in (0, 1):
        free = [a for a in range(len(shapes[side])) if a not in (*contracted[side], *batched[side])]
        places.append({a: i for i, a in enumerate(batched[side])})
        places[side].update({a: start + i for i, a in enumerate(free)})
        start += len(free)
    live = [side for side in (0, 1) if inputs[side] is not None]
    moved = []
    for side in live:
        axes = inputs[side] or ()
        if set(contracted[side]) & set(axes):
            raise _Mixed
        moved.append(tuple(places[side][a] for a in axes))
    if len(set(moved)) != 1:
        raise _Mixed
    return moved[0]
