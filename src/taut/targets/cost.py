"""How much work one evaluation of a traced function is, counted rather than timed.

Decisions that depend on cost (batch size, how many chains to check with) must not depend on how
busy the machine is, or the same seed would give different results.
"""

import math
from typing import Any

UNKNOWN_LOOP = 100

# Jitted functions of `_core` that take far less time than their many elements suggest.
QUICK = ("gamma_slope", "picked_slope")


def count_operations(jaxpr: Any, turns: int = UNKNOWN_LOOP) -> float:
    """Return the number of elements computed by a jaxpr, loops included.

    Matrix products and factorizations count their multiplications; functions in `QUICK` do not
    count.

    Args:
        jaxpr: what to count.
        turns: what a `while` loop, whose length is not known, counts as.
    """
    return sum(_equation(equation, turns) for equation in jaxpr.eqns)


def _equation(equation: Any, turns: int) -> float:
    name, params = equation.primitive.name, equation.params
    if params.get("name") in QUICK:
        return 0
    if name == "scan":
        return params["length"] * count_operations(params["jaxpr"].jaxpr, turns)
    if name == "while":
        return turns * count_operations(params["body_jaxpr"].jaxpr, turns)
    if name == "cond":
        return max(count_operations(branch.jaxpr, turns) for branch in params["branches"])
    inner = [p for p in params.values() if hasattr(p, "jaxpr") or hasattr(p, "eqns")]
    if inner:
        return sum(count_operations(getattr(p, "jaxpr", p), turns) for p in inner)
    size = sum(math.prod(v.aval.shape) for v in equation.outvars if hasattr(v.aval, "shape"))
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return size * math.prod(shape[axis] for axis in contracted)
    if name in ("cholesky", "triangular_solve", "lu", "eigh", "qr", "householder_product"):
        return size * equation.invars[0].aval.shape[-1]
    return size
