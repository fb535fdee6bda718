"""Values that a traced model makes of its data alone, by the arithmetic that indices are made with.

They can be computed without JAX, again for new data. What other operations make, and what is made
in loops, counts as unknown.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jax.extend.core.primitives import jit_p

from taut._core.numpy_operations import numpy_operation

Visit = Callable[[JaxprEqn, "list[Known | None]"], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A value that the data decide.

    Attributes:
        make: makes it of the values of `sources`.
        sources: what it is made of.
        dtype: its type.
        leaf: its place among the data, if it is one of them.
    """

    make: Callable
    sources: tuple["Known", ...]
    dtype: np.dtype
    leaf: int | None = None

    def steps(self) -> list["Known"]:
        """Return all that it is made of, and itself, in an order to compute them in."""
        order: dict[Known, None] = {}
        waiting = [(self, False)]
        while waiting:
            known, sources_are_in = waiting.pop()
            if sources_are_in:
                order[known] = None
            elif known not in order:
                waiting += [(known, True), *((source, False) for source in known.sources)]
        return list(order)

    def value(self, leaves: Sequence[Any]) -> np.ndarray:
        """Compute it from the data."""
        values: dict[Known, np.ndarray] = {}
        with np.errstate(all="ignore"):
            for step in self.steps():
                given = [values[source] for source in step.sources]
                made = step.make(*given) if step.leaf is None else leaves[step.leaf]
                values[step] = np.asarray(made).astype(step.dtype, copy=False)
        return values[self]


def walk(traced: ClosedJaxpr, visit: Visit) -> None:
    """Call `visit(operation, inputs)` for each operation of a function of data leaves.

    Inputs that are not known are None.
    """
    leaves = [_leaf(v, i) for i, v in enumerate(traced.jaxpr.invars)]
    _through(traced, leaves, visit)


def _through(traced: ClosedJaxpr, inputs: Sequence[Known | None], visit: Visit) -> list:
    jaxpr: Jaxpr = traced.jaxpr
    made: dict[Any, Known | None] = dict(zip(jaxpr.invars, inputs, strict=True))
    made.update(zip(jaxpr.constvars, map(_constant, jaxpr.constvars, traced.consts), strict=True))

    def find(atom: Any) -> Known | None:
        return _constant(atom, atom.val) if isinstance(atom, Literal) else made.get(atom)

    for equation in jaxpr.eqns:
        given = [find(atom) for atom in equation.invars]
        visit(equation, given)
        if equation.primitive is jit_p:
            results = _through(equation.params["jaxpr"], given, visit)
        else:
            results = [_result(equation, given)]
        made.update(zip(equation.outvars, results, strict=False))
    return [find(atom) for atom in jaxpr.outvars]


def _leaf(variable: Any, place: int) -> Known | None:
    dtype = variable.aval.dtype
    if not jnp.issubdtype(dtype, np.number) and dtype != np.bool_:
        return None
    return Known(np.asarray, (), dtype, place)


def _constant(atom: Any, value: Any) -> Known | None:
    dtype = getattr(atom.aval, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, np.integer) or dtype == np.bool_):
        return None
    array = np.array(value)  # a copy: the user's own may be refilled
    return Known(lambda: array, (), dtype)


def _result(equation: JaxprEqn, given: Sequence[Known | None]) -> Known | None:
    sources = tuple(known for known in given if known is not None)
    make = numpy_operation(equation)
    if make is None or len(sources) < len(given):
        return None
    out: Any = equation.outvars[0].aval
    return Known(make, sources, out.dtype)
