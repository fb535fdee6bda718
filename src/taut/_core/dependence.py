"""Which outputs of a traced function depend on which of its inputs.

Read from the jaxpr, so it is a property of the program, not of one value. Through loops and
branches every output counts as depending on every input; elsewhere the answer is exact up to terms
that cancel.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# What carries a value but no gradient.
_FLAT = frozenset({"stop_gradient", "floor", "ceil", "round", "sign", "is_finite"})

# A program called with its arguments one to one.
_CALLS = frozenset({"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2"})


def dependence(closed: ClosedJaxpr, *, gradient: bool = False) -> list[frozenset[int]]:
    """For each output of a jaxpr, the positions of the inputs it depends on.

    Args:
        closed: the traced function.
        gradient: count only dependence that a gradient can pass through.

    Returns:
        One set of input positions for each output.
    """
    start = [1 << i for i in range(len(closed.jaxpr.invars))]
    masks = _follow(closed.jaxpr, start, gradient)
    return [frozenset(i for i in range(len(start)) if mask >> i & 1) for mask in masks]


def _follow(jaxpr: Jaxpr, incoming: Sequence[int], gradient: bool) -> list[int]:
    masks: dict[Any, int] = dict(zip(jaxpr.invars, incoming, strict=True))

    def mask(atom: Any) -> int:
        return 0 if isinstance(atom, Literal) else masks.get(atom, 0)

    for equation in jaxpr.eqns:
        inputs = [mask(v) for v in equation.invars]
        name = equation.primitive.name
        inner = called(equation.params) if name in _CALLS else None
        if gradient and name in _FLAT:
            outputs = [0] * len(equation.outvars)
        elif inner is not None and len(inner.invars) == len(inputs):
            outputs = _follow(inner, inputs, gradient)
        else:
            union = 0
            for m in inputs:
                union |= m
            outputs = [union] * len(equation.outvars)
        for variable, value in zip(equation.outvars, outputs, strict=True):
            masks[variable] = value if not gradient or _is_real(variable) else 0
    return [mask(v) for v in jaxpr.outvars]


def called(params: dict) -> Jaxpr | None:
    """Return the program inside an equation with these parameters, if there is one."""
    inner = params.get("jaxpr", params.get("call_jaxpr"))
    return inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner


def _is_real(variable: Any) -> bool:
    return jnp.issubdtype(getattr(variable.aval, "dtype", jnp.int32), jnp.inexact)
