"""New equations in the place of some of a traced function's."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import JaxprEqn, Literal, Var


def standing_for(
    function: Callable[..., Sequence[Any]],
    givers: Sequence[JaxprEqn],
    takers: Sequence[JaxprEqn],
    consts: list[tuple[Var, Any]],
) -> list[JaxprEqn]:
    """Return the equations of a function whose results are those of other equations.

    Args:
        function: of what each of `givers` reads first; returns what each of `takers` makes.
        givers: equations whose first inputs are variables.
        takers: equations of one result each.
        consts: is given the constants that the equations read.
    """
    types = [jax.ShapeDtypeStruct(_first(e).aval.shape, _first(e).aval.dtype) for e in givers]
    closed = jax.make_jaxpr(function)(*types)
    traced = closed.jaxpr
    names = dict(zip(traced.invars, map(_first, givers), strict=True))
    names.update(zip(traced.outvars, (e.outvars[0] for e in takers), strict=True))

    def named(atoms: Sequence[Any]) -> list[Any]:
        return [a if isinstance(a, Literal) else names.setdefault(a, Var(a.aval)) for a in atoms]

    consts += zip(named(traced.constvars), closed.consts, strict=True)
    return [e.replace(invars=named(e.invars), outvars=named(e.outvars)) for e in traced.eqns]


def _first(equation: JaxprEqn) -> Any:
    return equation.invars[0]
