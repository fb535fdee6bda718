"""The log determinant of a map's Jacobian, as cheaply as the map's structure allows.

The structure is read from the traced map. A map of each number by itself costs one derivative; a
map between named values that is triangular in some order costs a determinant for each value; any
other costs a full Jacobian.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from taut._core.dependence import called, dependence
from taut._core.errors import InputError, first_few

Values = dict[str, Any]

_ELEMENTWISE = frozenset(
    """abs acos acosh add add_any asin asinh atan atan2 atanh cbrt copy cos cosh div
    convert_element_type erf erf_inv erfc exp exp2 expm1 integer_pow is_finite lgamma digamma log
    log1p logistic max min mul ne eq lt le gt ge neg nextafter pow real rsqrt select_n sign sin sinh
    sqrt square stop_gradient sub tan tanh clamp and or not""".split()
)
_CALLS = frozenset({"jit", "pjit", "custom_jvp_call", "closed_call"})


def log_abs_det(fn: Callable[[Values], Values], values: Values) -> Any:
    """log|det J| of a map between named arrays, at one point.

    Args:
        fn: from a dict of arrays to a dict of arrays with as many numbers in all.
        values: the point.

    Returns:
        A scalar; minus infinity where the map cannot be inverted.

    Raises:
        InputError: another count of numbers comes out than goes in, or some outputs together depend
            on too few inputs for a density to exist.
    """
    values = {name: jnp.asarray(v) for name, v in values.items()}
    closed, shapes = jax.make_jaxpr(fn, return_shape=True)(values)
    inputs, outputs = sorted(values), sorted(shapes)
    sizes = {name: int(np.size(v)) for name, v in values.items()}
    made = {name: int(np.prod(s.shape, dtype=int)) for name, s in shapes.items()}
    if sum(made.values()) != sum(sizes.values()):
        raise InputError(_count_words(outputs, sum(made.values()), sum(sizes.values())))
    depends = dict(
        zip(
            outputs,
            [{inputs[i] for i in found} for found in dependence(closed, gradient=True)],
            strict=True,
        )
    )
    total = jnp.zeros(())
    while depends:
        block = _next_block(depends, made, sizes)
        sources = sorted(set().union(*(depends[name] for name in block)))
        total = total + _block(fn, values, block, sources, closed)
        for name in block:
            del depends[name]
        depends = {name: found - set(sources) for name, found in depends.items()}
    return total


def _next_block(depends: dict[str, set], made: dict[str, int], sizes: dict[str, int]) -> list[str]:
    """Some outputs made of exactly as many numbers: one alone if possible, otherwise all left."""
    for name, found in depends.items():
        source = sum(sizes[n] for n in found)
        if source < made[name]:
            raise InputError(_count_words([name], made[name], source))
        if source == made[name]:
            return [name]
    left = sorted(depends)
    source = sum(sizes[n] for n in set().union(*depends.values()))
    if source < sum(made[n] for n in left):
        raise InputError(_count_words(left, sum(made[n] for n in left), source))
    return left


def _block(
    fn: Callable, values: Values, block: list[str], sources: list[str], closed: ClosedJaxpr
) -> Any:
    moving = [values[name] for name in sources]

    def part(*arrays: Any) -> list[Any]:
        made = fn({**values, **dict(zip(sources, arrays, strict=True))})
        return [made[name] for name in block]

    single = len(block) == 1 and len(sources) == 1
    if single and is_elementwise(jax.make_jaxpr(part)(*moving), jnp.shape(moving[0])):
        ones = jnp.ones_like(moving[0])
        _, (slope,) = jax.jvp(part, moving, [ones])
        return jnp.sum(jnp.log(jnp.abs(slope)))

    def flat(vector: Any) -> Any:
        pieces, start = [], 0
        for array in moving:
            pieces.append(vector[start : start + array.size].reshape(array.shape))
            start += array.size
        return jnp.concatenate([jnp.ravel(v) for v in part(*pieces)])

    point = jnp.concatenate([jnp.ravel(v) for v in moving])
    return jnp.linalg.slogdet(jax.jacfwd(flat)(point))[1]


def is_elementwise(closed: ClosedJaxpr, shape: tuple[int, ...]) -> bool:
    """Whether a map of one array of this shape treats every number by itself, at its own place."""
    outputs = closed.out_avals
    if any(getattr(aval, "shape", None) != shape for aval in outputs):
        return False
    return _elementwise(closed.jaxpr, [True] * len(closed.jaxpr.invars), shape)


def _elementwise(jaxpr: Jaxpr, moving: list[bool], shape: tuple[int, ...]) -> bool:
    live = {v for v, moves in zip(jaxpr.invars, moving, strict=True) if moves}
    for equation in jaxpr.eqns:
        hits = [not isinstance(v, Literal) and v in live for v in equation.invars]
        if not any(hits):
            continue
        name = equation.primitive.name
        if name in _CALLS:
            inner = called(equation.params)
            if inner is None or not _elementwise(inner, hits, shape):
                return False
        elif name not in _ELEMENTWISE:
            return False
        if any(getattr(v.aval, "shape", None) != shape for v in equation.outvars):
            return False
        live.update(equation.outvars)
    return True


def _count_words(names: list[str], made: int, source: int) -> str:
    verb = "is" if len(names) == 1 and made == 1 else "are"
    numbers = "number" if made == 1 else "numbers"
    auxiliaries = "auxiliary" if source == 1 else "auxiliaries"
    return (
        f"{first_few(names)} {verb} {made} {numbers} made from {source} {auxiliaries}; no density "
        "exists. Make as many numbers as there are auxiliaries, each from one more of them"
    )
