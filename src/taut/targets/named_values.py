"""Which named values can be made together with the log density, and how they are put together."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Var, jaxpr_as_fun

from taut._core.straight import returning
from taut.targets.cost import count_operations

# Values made at every evaluation must be few, and made of what the density is made of: by so much
# more work than the density's own, and so many operations for each number.
MOST_NUMBERS = 32
ADDED_WORK = 0.02
OPERATIONS_EACH = 4


@dataclasses.dataclass(frozen=True)
class NamedValues:
    """Where the named values of a traced program come from.

    Attributes:
        names: all of them, in order.
        taken: those that are a piece of the latent vector: where it begins, and its shape.
        made: the others, and which result of the traced function each is.
    """

    names: tuple[str, ...]
    taken: dict[str, tuple[int, tuple[int, ...]]]
    made: dict[str, int]

    @classmethod
    def of(cls, traced: ClosedJaxpr, places: dict[str, int]) -> "NamedValues":
        """Read a traced function whose first argument is a latent vector.

        Args:
            traced: made straight.
            places: which of its results each named value is.
        """
        starts = _pieces(traced.jaxpr)
        taken, made = {}, {}
        for name, place in places.items():
            atom = traced.jaxpr.outvars[place]
            if isinstance(atom, Var) and atom in starts:
                taken[name] = (starts[atom], tuple(traced.out_avals[place].shape))
            else:
                made[name] = place
        return cls(tuple(places), taken, made)

    def alone(self, traced: ClosedJaxpr) -> Callable[[Any, Sequence[Any]], list[Any]]:
        """Return what makes those in `made`, and no others, of one latent vector and the data."""
        run = jaxpr_as_fun(returning(traced, list(self.made.values())))
        return lambda z, data: run(z, *data)

    def are_quick(self, traced: ClosedJaxpr) -> bool:
        """Whether to make them with the density costs next to nothing."""
        places = [0, *self.made.values()]
        numbers = sum(traced.out_avals[place].size for place in places[1:])
        if numbers > MOST_NUMBERS:
            return False
        alone, together = (count_operations(returning(traced, p).jaxpr) for p in ([0], places))
        return together <= (1.0 + ADDED_WORK) * alone + OPERATIONS_EACH * numbers

    def put_together(self, z: np.ndarray, made: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return all values by name, each with a leading axis of length n.

        Args:
            z: latent vectors (n, dim).
            made: those in `made` at these, in its order.
        """
        values = dict(zip(self.made, made, strict=True))
        for name, (start, shape) in self.taken.items():
            size = int(np.prod(shape, dtype=int))
            values[name] = z[:, start : start + size].copy().reshape(len(z), *shape)
        return {name: values[name] for name in self.names}


def _pieces(jaxpr: Jaxpr) -> dict[Any, int]:
    """Return the variables that are a piece of the first argument, and where each begins."""
    starts = {jaxpr.invars[0]: 0}
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        source = equation.invars[0] if equation.invars else None
        if not isinstance(source, Var) or source not in starts:
            continue
        if name in ("reshape", "squeeze"):
            starts[equation.outvars[0]] = starts[source]
        elif name == "slice" and source is jaxpr.invars[0] and params["strides"] is None:
            starts[equation.outvars[0]] = params["start_indices"][0]
    return starts
