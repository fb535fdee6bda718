"""What a run has recorded: every loss, and the parameters every 50 steps."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from taut.infer.settling import COORDINATES, THINNING, Settled, settled


class Record:
    """Losses and thinned parameters of a run, extended chunk by chunk.

    Args:
        raw: the unconstrained parameters, for their names.
    """

    def __init__(self, raw: dict[str, Any]):
        self.steps = 0
        self._losses: list[np.ndarray] = []
        self._iterates: list[np.ndarray] = []
        self._names = _coordinate_names(raw)

    def extend(
        self, losses: Float[np.ndarray, " steps"], kept: Float[np.ndarray, "blocks coordinates"]
    ) -> None:
        """Add a chunk: its losses, and a row for each block of steps that it touched."""
        done = (self.steps + len(losses)) // THINNING - self.steps // THINNING
        # A block that is not complete is written again by the next chunk.
        self._iterates.append(kept[:done])
        self._losses.append(losses)
        self.steps += len(losses)

    def rewind(self, steps: int) -> None:
        """Forget the chunks after so many steps; `steps` is where one of them began."""
        while self.steps > steps:
            self.steps -= len(self._losses.pop())
            self._iterates.pop()

    @property
    def losses(self) -> Float[np.ndarray, " steps"]:
        """The loss of every step."""
        return np.concatenate([*self._losses, np.zeros(0, np.float32)])

    def settled(self) -> Settled:
        """Judge whether the optimisation has stopped moving."""
        iterates = np.concatenate([*self._iterates, np.zeros((0, len(self._names)))])
        return settled(self.losses, iterates, self._names)


def _coordinate_names(raw: dict[str, Any]) -> tuple[str, ...]:
    names = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(raw)[0]:
        label = str(path[0].key) + jax.tree_util.keystr(path[1:])
        shape = np.shape(leaf)
        indices = (f"[{','.join(map(str, index))}]" if shape else "" for index in np.ndindex(shape))
        names.extend(f"{label}{index}" for index in indices)
    stride = -(-len(names) // COORDINATES) or 1
    return tuple(names[::stride])
