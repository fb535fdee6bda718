"""The one compiled function of a fit: log density and gradient for a batch of latent vectors.

Compiling is the cost of small models, so there is one executable of one batch shape and everything
uses it: start search, fit, importance weights and the short HMC. Larger batches are looped over,
smaller ones padded. XLA's full optimisation takes three times longer to compile than the level
chosen here, for calls that are no faster.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from taut._core.background import Compiled
from taut._core.dependence import dependence
from taut._core.errors import InputError
from taut._core.gradients import value_and_grad
from taut._core.precision import native_dtype, precision_of
from taut._core.straight import returning, straight
from taut._core.xla_options import OFTEN, cpu_options
from taut.targets.cost import count_operations
from taut.targets.named_values import NamedValues
from taut.targets.program import Program
from taut.targets.target import Target

# Rows of the compiled batch by the work of one row, in elements computed. Calls of cheap models
# cost little more than their dispatch, so many rows are nearly free; those of dear ones are not.
BATCH_BY_WORK = ((2e4, 256), (2e5, 64), (math.inf, 16))

# On an accelerator a call takes a millisecond however little it computes. Rows of the dearest
# models are fewer: the search for starts would compute most of them for nothing.
ACCELERATOR_BATCH_BY_WORK = ((1e8, 1024), (math.inf, 128))

# Seconds for which a result is waited for awake: a thread that sleeps takes a third of the time of
# a small model's call to wake up.
PATIENCE = 5e-4


class Executable:
    """The compiled batch function of a program, made once.

    Named values that cost next to nothing beside the density are made with it: a program of their
    own would take a third of the time to compile, on the other core while the fit begins.

    Attributes:
        rows: of the compiled shape.
        work: elements computed for one row's density and gradient, counted from the traced
            function.
        unread: which of the data do not enter the log density.
        named: where the named values come from.
        constrains: whether they are made with the density.
    """

    def __init__(self, program: Program, data: tuple[Any, ...]):
        self.dtype = native_dtype()
        row = jax.ShapeDtypeStruct((program.dim,), self.dtype)
        closed = program.traced(data)
        result = closed.out_avals[0]
        if result.shape != () or result.dtype != self.dtype:
            raise InputError(
                f"the log density must be a {self.dtype} scalar; it is {result.dtype} of shape "
                f"{result.shape}"
            )
        used = dependence(closed)[0]
        self.unread = tuple(i for i in range(len(data)) if i + 1 not in used)
        whole = straight(closed)
        places = {name: i for i, name in enumerate(program.value_names, start=1)}
        self.named = named = NamedValues.of(whole, places)
        self.constrains = named.are_quick(whole)
        made = list(named.made.values()) if self.constrains else []
        self._alone = None if self.constrains else named.alone(whole)
        value = jaxpr_as_fun(returning(whole, [0, *made]))

        def with_gradient(z, leaves):
            def split(point):
                first, *others = value(point, *leaves)
                return first, others

            (first, others), slope = value_and_grad(split, z, has_aux=True)
            return first, slope, others

        graded = jax.make_jaxpr(with_gradient)(row, data)
        self.work = count_operations(returning(graded, [0, 1]).jaxpr)
        self.rows = _batch_rows(self.work)
        run = jaxpr_as_fun(straight(graded))

        def batched(z, leaves):
            return jax.vmap(lambda point: run(point, *leaves))(z)

        shape = jax.ShapeDtypeStruct((self.rows, program.dim), self.dtype)
        lowered = jax.jit(batched).lower(shape, data)
        self._compiled = Compiled(lowered, cpu_options(OFTEN), self.dtype, keep_loops=True)

    def __call__(self, z: np.ndarray, data: tuple[Any, ...]) -> Any:
        """Return values (rows,) and gradients (rows, dim) as JAX arrays."""
        return self._compiled(z, data)[:2]

    def constrain(self, z: np.ndarray, data: tuple[Any, ...]) -> list[Any]:
        """Return what is made in `named` at latent vectors (rows, dim), if it is made here."""
        return self._compiled(z, data)[2:]

    def values_alone(self) -> tuple[NamedValues, Callable] | None:
        """Return `named`, and what makes the same of one latent vector and the data.

        None if it is made here, or when this was asked for before: it holds copies of what the
        model reads.
        """
        alone, self._alone = self._alone, None
        return None if alone is None else (self.named, alone)

    def wait(self) -> None:
        """Return when it is compiled."""
        self._compiled.wait()


def _await(array: Any) -> None:
    """Stay awake until an array is computed, if that is soon."""
    end = time.perf_counter() + PATIENCE
    while not array.is_ready() and time.perf_counter() < end:
        pass


def _batch_rows(work: float) -> int:
    on_processor = jax.default_backend() == "cpu"
    table = BATCH_BY_WORK if on_processor else ACCELERATOR_BATCH_BY_WORK
    return next(rows for limit, rows in table if work <= limit)


class Oracle:
    """Evaluates a target's log density and gradient and counts; its results are float64.

    Args:
        target: what to evaluate.
        dtype: the floating type the model runs in; JAX's own by default.
    """

    def __init__(self, target: Target, dtype: np.dtype | None = None):
        self.target = target
        self.dim = target.dim
        self.dtype = target.dtype if dtype is None else np.dtype(dtype)
        compiled, key = target.program.compiled, ("density", self.dtype)
        with precision_of(self.dtype):
            if key not in compiled:
                compiled[key] = Executable(target.program, tuple(target.data))
            self.data = jax.device_put(tuple(target.data))
        self.executable: Executable = compiled[key]
        self.rows = self.executable.rows
        self.calls = 0

    def __call__(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log densities (n,) and gradients (n, dim) of `z` (n, dim).

        A row whose value or gradient is not finite gets the value -inf and the gradient zero.
        """
        return self.begin(z)()

    def begin(self, z: np.ndarray) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        """Begin to evaluate; call what is returned for the result, and do other work meanwhile."""
        n, rows = len(z), self.rows
        with np.errstate(over="ignore"):
            z = z.astype(self.dtype)
        pending = []
        with precision_of(self.dtype):
            for start in range(0, n, rows):
                part = z[start : start + rows]
                if len(part) < rows:
                    padding = np.broadcast_to(part[:1], (rows - len(part), self.dim))
                    part = np.concatenate([part, padding])
                pending.append(self.executable(part, self.data))
        self.calls += len(pending)
        return functools.partial(self._finish, pending, n)

    def _finish(self, pending: list[Any], n: int) -> tuple[np.ndarray, np.ndarray]:
        values, gradients = np.empty(n), np.empty((n, self.dim))
        for part, (value, gradient) in enumerate(pending):
            _await(gradient)
            rows = slice(part * self.rows, (part + 1) * self.rows)
            values[rows] = np.asarray(value)[: n - rows.start]
            gradients[rows] = np.asarray(gradient)[: n - rows.start]
        # A sum is finite only if all its terms are.
        with np.errstate(invalid="ignore", over="ignore"):
            if not np.isfinite(values.sum() + gradients.sum()):
                bad = ~np.isfinite(values + gradients.sum(axis=1))
                values[bad] = -np.inf
                gradients[bad] = 0.0
        return values, gradients

    @property
    def resolution(self) -> float:
        """Relative rounding error of one log density."""
        return 4.0 * float(np.finfo(self.dtype).eps)
