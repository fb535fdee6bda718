"""A target: a program together with the data it is to be evaluated on."""

import collections
import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.errors import InputError
from taut._core.fingerprint import Identity, Watch, identity
from taut._core.modules import module
from taut._core.precision import native_dtype
from taut.targets.arguments import (
    Arguments,
    call_problems,
    flatten_arguments,
    not_numbers,
    tables,
)
from taut.targets.discovery import discover
from taut.targets.log_density import DensityProgram, check_function
from taut.targets.not_finite import NotFinite, suspected_arguments
from taut.targets.numpyro_model import ModelProgram
from taut.targets.program import Program
from taut.targets.pymc_model import data_of, is_pymc_model, make_pymc_program, pymc_form
from taut.targets.representable import dtype_without, lost_in_single
from taut.targets.validation import observed_problems

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

    @property
    def dtype(self) -> np.dtype:
        """The floating type to compute in: JAX's own, or what the program or the data ask for."""
        return dtype_without(self.coarse) if self.program.dtype is None else self.program.dtype

    @functools.cached_property
    def coarse(self) -> str:
        """Which of the data single precision cannot hold, or an empty string."""
        return lost_in_single(self.data_names, self.data)

    def remarks(self) -> list[str]:
        """Say what of the data may be a mistake."""
        return self.program.remarks(self.data_names, self.data)

    def log_density(self, z: Any) -> Any:
        """Log density at one latent vector `z` (dim,); a scalar."""
        return self.program.log_density(self._arrays(), z)

    def constrain(self, z: Any) -> dict[str, Any]:
        """Sites and deterministic values at one latent vector `z` (dim,)."""
        return self.program.constrain(self._arrays(), z)

    def unconstrain(self, values: dict[str, Any]) -> tuple[Any, Any]:
        """Latent vector (dim,) of given site values, and log|det d values / d z|."""
        return self.program.unconstrain(self._arrays(), values)

    def log_joint(self, values: dict[str, Any]) -> Any:
        """Log joint density of site values in the model's own coordinates."""
        return self.program.log_joint(self._arrays(), values)

    def _arrays(self) -> list[Any]:
        # As in a compiled program: a NumPy array cannot be indexed by a tracer.
        return [jnp.asarray(leaf) for leaf in self.data]


def target(model: Any, /, *args: Any, **kwargs: Any) -> Target:
    """Bind a NumPyro model to its arguments, or read a PyMC model, which holds its own.

    Args:
        model: a NumPyro model, or a `pm.Model`.
        *args: its positional arguments.
        **kwargs: its keyword arguments, observed data included.

    Returns:
        The target. Arrays are data: another target with the same shapes shares its compiled
        functions. Arguments the model must see as concrete values are found and held static.

    Raises:
        InputError: every problem with the model and its data that can be found without computing.
    """
    if is_pymc_model(model):
        return _pymc_target(model, args, kwargs)
    if not callable(model):
        raise InputError(
            f"a model is a function with numpyro.sample statements, or a PyMC model; got "
            f"{type(model).__name__}"
        )
    arguments = flatten_arguments(model, args, kwargs)
    if wrong := call_problems(model, args, kwargs, arguments):
        unsure = suspected_arguments(arguments.leaf_names, arguments.leaves, ())
        raise InputError([*wrong, *unsure])
    key = ("model", identity(model), native_dtype())
    family = _PROGRAMS.family(key, model)
    arguments = arguments.hold_static(family.held)
    program = kept = _PROGRAMS.find(key, arguments.key())
    if kept is None:
        try:
            program, arguments = discover(model, arguments, family.held, family.watch)
        except InputError as error:
            failed = any(" raised " in problem for problem in error.problems)
            unnamed = tables(model, args, kwargs) if failed else []
            raise InputError([*error.problems, *unnamed]) from None
    _check_data(program, arguments)
    if kept is None:
        _PROGRAMS.keep(key, arguments.key(), program)
        family.held = arguments.static_arrays()
    return Target(program, arguments.leaves, arguments.leaf_names)


def _check_data(program: ModelProgram, arguments: Arguments) -> None:
    names, leaves = arguments.leaf_names, arguments.leaves
    if problems := observed_problems(program.checks, names, leaves):
        others = NotFinite(program, names, leaves, program.checks)
        raise InputError([*problems, *others.problems()])


def _pymc_target(model: Any, args: tuple, kwargs: dict) -> Target:
    if args or kwargs:
        raise InputError("a PyMC model has its data already (pm.Data, pm.set_data); pass it alone")
    key, form = ("pymc", Identity(model)), pymc_form(model)
    family = _PROGRAMS.family(key, _reads_nothing)
    program = _PROGRAMS.find(key, form)
    if program is None:
        program = make_pymc_program(model, family.watch)
        _PROGRAMS.keep(key, form, program)
    data = data_of(model)
    leaves = tuple(np.asarray(variable.get_value()) for variable in data)
    return Target(program, leaves, tuple(variable.name for variable in data))


def _reads_nothing() -> None:
    """Stands for a PyMC model where functions are watched: its form says all that it depends on."""


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
    check_function(function, data is not None)
    paths, structure = jax.tree_util.tree_flatten_with_path(data)
    names = tuple(f"data{jax.tree_util.keystr(path)}" for path, _ in paths)
    leaves = tuple(v if isinstance(v, jax.Array) else np.asarray(v) for _, v in paths)
    arguments = Arguments(names, leaves, (True,) * len(leaves), structure)
    if problems := not_numbers(arguments):
        raise InputError(problems)
    shapes, init_structure = jax.tree_util.tree_flatten(init)
    key = ("density", identity(function), native_dtype())
    form = (init_structure, tuple(np.shape(v) for v in shapes), arguments.key())
    family = _PROGRAMS.family(key, function)
    program = _PROGRAMS.find(key, form)
    if program is None:
        data_structure = None if data is None else structure
        program = DensityProgram(function, init, data_structure, family.watch)
        _PROGRAMS.keep(key, form, program)
    return Target(program, leaves, names)


class _Family:
    """What the programs made of one function share."""

    def __init__(self, function: Callable):
        self.watch = Watch(function)
        # The arguments it needs as concrete values, learned at its first run.
        self.held: tuple[str, ...] = ()


class ProgramStore:
    """The programs made so far, least recently used first out.

    A program is found by its function and its form: all else that its compiled code depends on.
    """

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._families: dict[Hashable, _Family] = {}
        # With the count of changes its watch had seen when it was made.
        self._programs: collections.OrderedDict[tuple[Hashable, Hashable], tuple[Any, int]] = (
            collections.OrderedDict()
        )
        self._lock = threading.Lock()

    def family(self, key: Hashable, function: Callable) -> _Family:
        """Return what the programs of a function share."""
        with self._lock:
            return self._families.setdefault(key, _Family(function))

    def find(self, key: Hashable, form: Hashable) -> Any:
        """Return the program kept, or None if there is none or what its function reads changed."""
        with self._lock:
            changes = self._families[key].watch.changes()
            program, made_at = self._programs.get((key, form), (None, -1))
            if made_at != changes:
                return None
            self._programs.move_to_end((key, form))
            return program

    def keep(self, key: Hashable, form: Hashable, program: Any) -> None:
        """Remember a program, and forget the one not used for longest if there are too many."""
        with self._lock:
            self._programs[(key, form)] = program, program.watch.changes()
            while len(self._programs) > self._capacity:
                (old_key, _), _ = self._programs.popitem(last=False)
                if all(old_key != k for k, _ in self._programs):
                    self._families.pop(old_key, None)


_PROGRAMS = ProgramStore(PROGRAMS_KEPT)
