"""From latent vectors to a model's named values, in batches of one compiled shape."""

from typing import Any

import jax
import numpy as np

from taut._core.background import Compiled
from taut._core.constants import with_copies
from taut._core.precision import native_dtype, precision_of
from taut._core.retraced import retraced
from taut._core.straight import straight
from taut._core.xla_options import OFTEN, cpu_options
from taut.targets.target import Target

ROWS, SMALL_ROWS = 1024, 64

# Deterministic values are often as large as the data: beyond this many numbers, fewer rows at once.
LARGE_VALUES = 4096


class Constrainer:
    """Maps latent vectors to sites and deterministic values; compiled once per program.

    Args:
        target: whose values to make.
        dtype: the floating type the model runs in; JAX's own by default.
    """

    def __init__(self, target: Target, dtype: np.dtype | None = None):
        self._dtype = target.dtype if dtype is None else np.dtype(dtype)
        compiled, key = target.program.compiled, ("values", self._dtype)
        with precision_of(self._dtype):
            if key not in compiled:
                compiled[key] = _compile(target)
            self._data = jax.device_put(tuple(target.data))
        self._rows, self._run = compiled[key]

    def __call__(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values at `z` (n, dim), each with a leading axis of length n."""
        with np.errstate(over="ignore"):
            rows = z.astype(self._dtype)
        pieces = []
        for start in range(0, len(rows), self._rows):
            part = rows[start : start + self._rows]
            count = len(part)
            if count < self._rows:
                padding = np.broadcast_to(part[:1], (self._rows - count, part.shape[1]))
                part = np.concatenate([part, padding])
            with precision_of(self._dtype):
                values = self._run(part, self._data)
            pieces.append({name: np.asarray(value)[:count] for name, value in values.items()})
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _compile(target: Target) -> tuple[int, Any]:
    program = target.program
    largest = max([program.dim, *(int(np.size(leaf)) for leaf in target.data)])
    rows = SMALL_ROWS if largest > LARGE_VALUES else ROWS
    shape = jax.ShapeDtypeStruct((rows, program.dim), native_dtype())
    constrain = retraced(
        lambda z, data: program.constrain(data, z), lambda closed: straight(with_copies(closed))
    )

    def batched(z, data):
        return jax.vmap(lambda point: constrain(point, data))(z)

    with program.watch.running():
        lowered = jax.jit(batched).lower(shape, tuple(target.data))
    return rows, Compiled(lowered, cpu_options(OFTEN), native_dtype(), keep_loops=True)
