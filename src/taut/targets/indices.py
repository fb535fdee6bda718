"""Indices that lie outside what they index, as of groups that count from 1.

JAX reads the nearest value in place of one that is not there, in silence. That may be meant, where
what is read there is masked afterwards, so it is said and nothing is refused. Indexing that says
what it wants there (`x.at[i].get(mode=...)`, `jnp.take`) may go anywhere.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.lax import GatherScatterMode

from taut._core.errors import first_few
from taut.targets.known import Known, walk
from taut.targets.location import code_location


@dataclasses.dataclass(frozen=True)
class IndexCheck:
    """One place where a model picks from an axis by an index that its data decide.

    Attributes:
        index: the index, counted from the start of the axis.
        column: which number of each row of `index` it is.
        length: of the axis.
        largest: the largest index that is inside.
        traceback: where in the model, as JAX remembers it.
    """

    index: Known
    column: int
    length: int
    largest: int
    traceback: Any

    def remark(self, names: Sequence[str], leaves: Sequence[Any]) -> str | None:
        """Say which indices lie outside, or None."""
        try:
            starts = self.index.value(leaves)
        except Exception:
            # NumPy cannot make what JAX makes.
            return None
        index = starts[..., self.column] if starts.ndim else starts
        if index.size == 0 or (index.min() >= 0 and index.max() <= self.largest):
            return None
        outside = index[(index < 0) | (index > self.largest)]
        used = [names[s.leaf] for s in self.index.steps() if s.leaf is not None]
        of = f" made from {first_few([repr(n) for n in used])}" if used else ""
        where = code_location(self.traceback.as_python_traceback()) if self.traceback else ""
        # Negative ones have had the length added to them.
        values = np.unique(np.where(outside < 0, outside - self.length, outside))
        from_one = index.min() == 1 and index.max() == self.length
        fix = "if they count from 1, subtract 1; " if from_one else ""
        return (
            f"{outside.size} of {index.size} indices{of} lie outside the axis of length "
            f"{self.length} that is indexed{where}: {first_few(values.tolist())}. They run from 0 "
            f"to {self.length - 1}, and JAX takes the nearest in silence; {fix}where what is taken "
            'there is masked, or meant, x.at[index].get(mode="clip") says so'
        )


def index_checks(traced: ClosedJaxpr) -> tuple[IndexCheck, ...]:
    """List the places where a traced model picks by an index that its data decide.

    Args:
        traced: the model as a function of its data leaves.
    """
    checks: list[IndexCheck] = []

    def visit(operation: JaxprEqn, given: list[Known | None]) -> None:
        checks.extend(_checks_of(operation, given))

    walk(traced, visit)
    return tuple(checks)


def index_remarks(
    checks: Sequence[IndexCheck], names: Sequence[str], leaves: Sequence[Any]
) -> list[str]:
    """Say which indices lie outside what they index, each place once."""
    found = (check.remark(names, leaves) for check in checks)
    return list(dict.fromkeys(remark for remark in found if remark))


def _checks_of(operation: JaxprEqn, given: list[Known | None]) -> list[IndexCheck]:
    # Pieces that are asked for by name (`dynamic_slice`) are moved inside on purpose.
    name, params = operation.primitive.name, operation.params
    if name != "gather" or params["mode"] != GatherScatterMode.PROMISE_IN_BOUNDS:
        return []
    axes = params["dimension_numbers"].start_index_map
    known = [(given[1], column, axis) for column, axis in enumerate(axes)]
    operand: Any = operation.invars[0].aval
    sizes, traceback = params["slice_sizes"], operation.source_info.traceback
    return [
        IndexCheck(index, column, operand.shape[axis], operand.shape[axis] - sizes[axis], traceback)
        for index, column, axis in known
        if index is not None
    ]
