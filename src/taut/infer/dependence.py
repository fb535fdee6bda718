"""Which outputs of a function depend on which inputs, read off its traced form."""

from collections.abc import Callable
from typing import Any

import jax
import jax.extend


def dependence(
    function: Callable[[dict], dict], inputs: dict[str, Any]
) -> dict[str, frozenset[str]]:
    """Say on which inputs each output of a function depends.

    Nothing is computed. What happens inside loops and branches counts as depending on all that
    enters them, so the answer may name too many inputs, never too few.

    Args:
        function: from a dict of arrays to a dict of arrays.
        inputs: arrays, or their shapes.

    Returns:
        The names of inputs for each name of an output.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(inputs)
    names = sorted(inputs)  # the order in which JAX flattens a dict
    known = {v: frozenset([n]) for v, n in zip(closed.jaxpr.invars, names, strict=True)}

    def of(variable: Any) -> frozenset[str]:
        if isinstance(variable, jax.extend.core.Literal):
            return frozenset()
        return known.get(variable, frozenset())

    for equation in closed.jaxpr.eqns:
        union = frozenset().union(*map(of, equation.invars))
        known.update(dict.fromkeys(equation.outvars, union))
    outputs = map(of, closed.jaxpr.outvars)
    return dict(zip(sorted(shapes), outputs, strict=True))
