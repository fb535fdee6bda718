"""From latent vectors to a model's named values, in batches of one compiled shape.

Few values are made by the compiled density itself; more of them by a program of their own.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from taut._core.background import Compiled
from taut._core.constants import with_copies
from taut._core.precision import native_dtype, precision_of
from taut._core.straight import straight
from taut._core.xla_options import OFTEN, cpu_options
from taut.targets.named_values import NamedValues
from taut.targets.program import Program
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
        self._rows, self._run, self._named = compiled[key]

    def __call__(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values at `z` (n, dim), each with a leading axis of length n."""
        with np.errstate(over="ignore"):
            rows = z.astype(self._dtype)
        pending = []
        with precision_of(self._dtype):
            for start in range(0, len(rows), self._rows):
                part = rows[start : start + self._rows]
                if len(part) < self._rows:
                    padding = np.broadcast_to(part[:1], (self._rows - len(part), part.shape[1]))
                    part = np.concatenate([part, padding])
                pending.append(self._run(part, self._data))
        made = [np.concatenate(pieces)[: len(rows)] for pieces in zip(*pending, strict=True)]
        return self._named.put_together(rows, made)


def _compile(target: Target) -> tuple[int, Callable, NamedValues]:
    program, dtype = target.program, native_dtype()
    density = program.compiled.get(("density", dtype))
    if density is not None and density.constrains:
        return density.rows, density.constrain, density.named
    data = tuple(target.data)
    alone = None if density is None else density.values_alone()
    named, constrain = alone or _traced_alone(program, data)
    largest = max([program.dim, *(int(np.size(leaf)) for leaf in data)])
    rows = SMALL_ROWS if largest > LARGE_VALUES else ROWS
    shape = jax.ShapeDtypeStruct((rows, program.dim), dtype)

    def batched(z, data):
        return jax.vmap(lambda point: constrain(point, data))(z)

    lowered = jax.jit(batched).lower(shape, data)
    return rows, Compiled(lowered, cpu_options(OFTEN), dtype, keep_loops=True), named


def _traced_alone(program: Program, data: tuple[Any, ...]) -> tuple[NamedValues, Callable]:
    row = jax.ShapeDtypeStruct((program.dim,), native_dtype())

    def values(z, leaves):
        made = program.constrain(leaves, z)
        return [made[name] for name in program.value_names]

    with program.watch.running():
        traced = jax.make_jaxpr(values)(row, data)
    whole = straight(with_copies(traced))
    named = NamedValues.of(whole, {name: i for i, name in enumerate(program.value_names)})
    return named, named.alone(whole)
