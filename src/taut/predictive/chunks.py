"""One compiled function of a draw, applied to many draws within a bound on memory."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from taut._core.constants import with_copies
from taut._core.loop_unrolling import compile_quickly
from taut._core.precision import precision_of
from taut._core.retraced import retraced
from taut._core.straight import straight
from taut._core.xla_options import OFTEN, cpu_options

MOST_ROWS = 1024


class Chunks:
    """A function of one draw, compiled once for as many draws at a time as memory allows.

    XLA is asked how much memory the compiled program takes; if that is beyond the bound, fewer rows
    are compiled instead. A chunk has one row at least, whatever the bound.

    Args:
        function: `function(row, data)` returns arrays by name for one draw.
        row: a pytree of `jax.ShapeDtypeStruct`, the shapes of one draw.
        data: what is the same for all draws.
        draws: how many draws there will be at most in one call.
        memory: bytes that results and temporaries of one chunk may take.
        dtype: the floating type to compute in.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Mapping[str, Any]],
        row: Any,
        data: Any,
        draws: int,
        memory: float,
        dtype: np.dtype,
    ):
        self._dtype = np.dtype(dtype)
        with precision_of(self._dtype):
            shapes = jax.eval_shape(function, row, data)
            one = sum(math.prod(s.shape) * s.dtype.itemsize for s in shapes.values())
            self.rows = _power_of_two(min(memory / max(one, 1), draws, MOST_ROWS))
            self._run = self._compile(function, row, data)
            while self.rows > 1 and self.memory > memory:
                self.rows = _power_of_two(min(self.rows / 2, self.rows * memory / self.memory))
                self._run = self._compile(function, row, data)

    @property
    def memory(self) -> int:
        """Bytes that the results and temporaries of one chunk take."""
        use = self._run.memory_analysis()
        return use.temp_size_in_bytes + use.output_size_in_bytes

    def __call__(self, rows: Any, data: Any) -> dict[str, np.ndarray]:
        """Apply the function to a pytree of arrays with one leading axis of draws."""
        count = len(jax.tree_util.tree_leaves(rows)[0])
        results: dict[str, np.ndarray] = {}
        with precision_of(self._dtype):
            data = jax.device_put(data)
            for start in range(0, count, self.rows):
                part = jax.tree_util.tree_map(lambda v, s=start: self._padded(v[s:]), rows)
                made = self._run(part, data)
                stop = min(start + self.rows, count)
                for name, value in made.items():
                    if name not in results:
                        results[name] = np.empty((count, *value.shape[1:]), value.dtype)
                    results[name][start:stop] = np.asarray(value)[: stop - start]
        return results

    def _compile(self, function: Callable, row: Any, data: Any) -> Any:
        shapes = jax.tree_util.tree_map(
            lambda s: jax.ShapeDtypeStruct((self.rows, *s.shape), s.dtype), row
        )
        one = retraced(function, lambda closed: straight(with_copies(closed)))
        lowered = jax.jit(jax.vmap(one, in_axes=(0, None))).lower(shapes, data)
        return compile_quickly(lowered, cpu_options(OFTEN))

    def _padded(self, values: np.ndarray) -> np.ndarray:
        part = values[: self.rows]
        missing = self.rows - len(part)
        if not missing:
            return part
        return np.concatenate([part, np.broadcast_to(part[:1], (missing, *part.shape[1:]))])


def _power_of_two(rows: float) -> int:
    """Return the largest power of two not above a number, one at least."""
    return 2 ** max(0, math.floor(math.log2(max(rows, 1.0))))
