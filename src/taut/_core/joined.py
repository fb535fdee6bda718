"""Operations on few numbers that take long to compile, made together where they are alike.

A log gamma function is a hundred operations to the compiler, be it of one number or of many, and
its derivative another hundred. The density of a beta distribution has five of them.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

_COSTLY = ("lgamma", "digamma")

# What joins larger arrays costs more when it runs than it saves.
_LARGEST = 64


def joined(equations: Sequence[JaxprEqn]) -> list[JaxprEqn]:
    """Return equations that compute the same, one in place of all that are alike.

    Those are alike that apply one operation to one type, none to what another gives. The order
    changes, so equations with effects are returned as they are.
    """
    if sum(map(_is_costly, equations)) < 2 or any(e.effects for e in equations):
        return list(equations)
    # How many costly operations, at most, lie one after another on the way to a value.
    depths: defaultdict[Any, int] = defaultdict(int)
    plain: defaultdict[int, list[JaxprEqn]] = defaultdict(list)
    alike: defaultdict[int, dict[Any, list[JaxprEqn]]] = defaultdict(dict)
    for equation in equations:
        reads = (v for v in equation.invars if not isinstance(v, Literal))
        depth = max((depths[v] for v in reads), default=0)
        if _is_costly(equation):
            kind = equation.primitive, _aval(equation).dtype
            alike[depth].setdefault(kind, []).append(equation)
            depth += 1
        else:
            plain[depth].append(equation)
        depths.update((v, depth) for v in equation.outvars)
    ordered = []
    for depth in range(max(depths.values()) + 1):
        ordered += plain[depth]
        for group in alike[depth].values():
            ordered += group if len(group) == 1 else _together(group)
    return ordered


def _is_costly(equation: JaxprEqn) -> bool:
    name, given = equation.primitive.name, equation.invars
    return name in _COSTLY and isinstance(given[0], Var) and 0 < _aval(equation).size <= _LARGEST


def _aval(equation: JaxprEqn) -> Any:
    """Return the shape and type of what an equation reads."""
    return equation.invars[0].aval


def _together(group: Sequence[JaxprEqn]) -> list[JaxprEqn]:
    """Return the equations that make one operation of several, for the same variables."""
    operation, params = group[0].primitive, group[0].params
    types = [_aval(e) for e in group]
    ends = np.cumsum([t.size for t in types])

    def together(*values: Any) -> list[Any]:
        made = operation.bind(jnp.concatenate([jnp.ravel(v) for v in values]), **params)
        pieces = zip(types, ends, strict=True)
        return [made[end - t.size : end].reshape(t.shape) for t, end in pieces]

    traced = jax.make_jaxpr(together)(*types).jaxpr
    given, asked = [e.invars[0] for e in group], [e.outvars[0] for e in group]
    names = dict(zip(traced.invars, given, strict=True))
    names.update(zip(traced.outvars, asked, strict=True))

    def named(atoms: Sequence[Any]) -> list[Any]:
        return [a if isinstance(a, Literal) else names.setdefault(a, Var(a.aval)) for a in atoms]

    return [e.replace(invars=named(e.invars), outvars=named(e.outvars)) for e in traced.eqns]
