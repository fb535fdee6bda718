"""A target: a program together with the data it is to be evaluated on."""

import collections
import threading
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from taut._core.errors import InputError
from taut._core.fingerprint import identity
from taut._core.modules import module
from taut._core.precision import native_dtype
from taut.targets.arguments import Arguments, bind_arguments
from taut.targets.discovery import discover
from taut.targets.log_density import DensityProgram
from taut.targets.program import Program
from taut.targets.validation import data_problems

PROGRAMS_KEPT = 64


@module(static=("program", "data_names"))
class Target:
    """An unnormalised log density on R^dim and the way back to named, constrained values.

    Its integral over R^dim is the evidence of the model. The data are leaves of this pytree.

    Attributes:
        program: what is computed; shared by targets that differ in their data only.
        data: the data leaves, in the program's order.
        data_names: the argument each leaf came from.
    """

    program: Program
    data: tuple[Any, ...]
    data_names: tuple[str, ...]

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return self.program.dim

    def log_density(self, z: Any) -> Any:
        """Log density at one latent vector `z` (dim,); a scalar."""
        return self.program.log_density(self.data, z)

    def constrain(self, z: Any) -> dict[str, Any]:
        """Sites and deterministic values at one latent vector `z` (dim,)."""
        return self.program.constrain(self.data, z)

    def unconstrain(self, values: dict[str, Any]) -> tuple[Any, Any]:
        """Latent vector (dim,) of given site values, and log|det d values / d z|."""
        return self.program.unconstrain(self.data, values)

    def log_joint(self, values: dict[str, Any]) -> Any:
        """Log joint density of site values in the model's own coordinates."""
        return self.program.log_joint(self.data, values)


def target(model: Callable, /, *args: Any, **kwargs: Any) -> Target:
    """Bind a NumPyro model to its arguments.

    Args:
        model: a NumPyro model.
        *args: its positional arguments.
        **kwargs: its keyword arguments, observed data included.

    Returns:
        The target. Arrays are data: another target with the same shapes shares its compiled
        functions. Arguments the model must see as concrete values are found and held static.

    Raises:
        InputError: every problem with the model and its data that can be found without computing.
    """
    if not callable(model):
        raise InputError(
            f"a model is a function with numpyro.sample statements; got {type(model).__name__}"
        )
    arguments = bind_arguments(model, args, kwargs)
    key = ("model", identity(model), native_dtype())
    held = _PROGRAMS.held(key)
    arguments = arguments.hold_static(held)
    program = _PROGRAMS.find(key, arguments)
    if program is None:
        program, arguments = discover(model, arguments, held)
        _PROGRAMS.keep(key, arguments, program)
    else:
        problems = data_problems(program.checks, arguments)
        if problems:
            raise InputError(problems)
    return Target(program, arguments.leaves, arguments.leaf_names)


def from_log_density(function: Callable, init: Any, data: Any = None) -> Target:
    """Make a target of a plain JAX log density.

    Args:
        function: `function(values)` or, when data are given, `function(values, data)`; returns the
            unnormalised log density, a scalar. `values` has the structure of `init`.
        init: a pytree of arrays that gives names and shapes; a bare array is named "x".
        data: a pytree of arrays passed on to the function; new data of the same shapes compiles
            nothing.

    Raises:
        InputError: `init` is empty or not numeric, or the function does not return a scalar.
    """
    leaves, structure = jax.tree_util.tree_flatten(data)
    leaves = tuple(np.asarray(v) if not isinstance(v, jax.Array) else v for v in leaves)
    arguments = Arguments(
        tuple(f"data[{i}]" for i in range(len(leaves))), leaves, (True,) * len(leaves), structure
    )
    shapes, init_structure = jax.tree_util.tree_flatten(init)
    key = ("density", identity(function), native_dtype(), init_structure)
    key += (tuple(np.shape(v) for v in shapes),)
    program = _PROGRAMS.find(key, arguments)
    if program is None:
        program = DensityProgram(function, init, None if data is None else structure)
        _PROGRAMS.keep(key, arguments, program)
    return Target(program, leaves, arguments.names)


class _ProgramStore:
    """The programs made so far, least recently used first out."""

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._programs: collections.OrderedDict[tuple[Hashable, Hashable], Program] = (
            collections.OrderedDict()
        )
        # What had to be held static for a model, learned at its first run.
        self._held: dict[Hashable, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def held(self, key: Hashable) -> tuple[str, ...]:
        """Return the arguments a model is known to need as concrete values."""
        return self._held.get(key, ())

    def find(self, key: Hashable, arguments: Arguments) -> Any:
        """Return the program kept for these arguments, or None if there is none or it is stale."""
        with self._lock:
            full = (key, arguments.key())
            program = self._programs.get(full)
            if program is None or not program.is_current():
                return None
            self._programs.move_to_end(full)
            return program

    def keep(self, key: Hashable, arguments: Arguments, program: Program) -> None:
        """Remember a program for the arguments as it takes them."""
        arrays = zip(arguments.names, arguments.values, arguments.is_leaf, strict=True)
        program.mark_traced()
        held = tuple(n for n, v, leaf in arrays if not leaf and hasattr(v, "dtype"))
        with self._lock:
            self._held[key] = held
            self._programs[(key, arguments.key())] = program
            while len(self._programs) > self._capacity:
                (old_key, _), _ = self._programs.popitem(last=False)
                if all(old_key != k for k, _ in self._programs):
                    self._held.pop(old_key, None)


_PROGRAMS = _ProgramStore(PROGRAMS_KEPT)
