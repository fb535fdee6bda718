"""A model's forward runs, compiled once for each form of its arguments.

Draw i of a call uses the random key folded with i, so neither the size of chunks nor the number of
draws changes what a draw is.
"""

import collections
import threading
import warnings
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

import jax
import numpy as np

from taut._core.errors import InputError
from taut._core.fingerprint import Watch, identity
from taut._core.precision import precision_of
from taut.predictive.chunks import MOST_ROWS, Chunks
from taut.predictive.forward import (
    drawn_values,
    log_likelihoods,
    observed_values,
    run_forwards,
    run_on_data,
)
from taut.predictive.outline import Outline, outline
from taut.targets.abstract_run import model_failed
from taut.targets.arguments import Arguments
from taut.targets.indices import index_remarks

MEMORY = 256e6
"""Bytes that one chunk may take, unless told otherwise."""

_CALLS_KEPT, _SIMULATORS_KEPT = 8, 32

Values = Mapping[str, np.ndarray]


class Simulator:
    """Prior draws, predictions and log likelihoods of one model.

    Args:
        model: a NumPyro model.
    """

    def __init__(self, model: Callable):
        self._model = model
        self._watch = Watch(model)
        self._held: tuple[str, ...] = ()
        self._outlines = _Recent(_CALLS_KEPT)
        self._compiled = _Recent(_CALLS_KEPT)

    def outline(self, arguments: Arguments) -> tuple[Outline, Arguments]:
        """Describe a call, and return its arguments as the compiled functions take them.

        Raises:
            InputError: the model raised an error.
        """
        arguments = arguments.hold_static(self._held)
        key = (arguments.key(), self._watch.changes())
        found = self._outlines.get(key)
        if found is None:
            found, arguments, asked_for = outline(self._model, arguments, self._watch)
            self._held = (*self._held, *asked_for)
            self._outlines.put((arguments.key(), self._watch.changes()), found)
        names, leaves = arguments.leaf_names, arguments.leaves
        for remark in index_remarks(found.indices, names, leaves):
            warnings.warn(remark, stacklevel=2)
        return found, arguments

    def draw(
        self,
        arguments: Arguments,
        given: Values,
        draws: int,
        seed: Collection[int],
        dtype: np.dtype,
        memory: float = MEMORY,
    ) -> dict[str, np.ndarray]:
        """Draw all that is not given, and compute all deterministic values.

        Args:
            arguments: the model's arguments.
            given: values of latents, each with a leading axis of draws; those that the call has no
                site for are not used.
            draws: how many draws.
            seed: decides the random numbers, one or several numbers.
            dtype: the floating type to compute in.
            memory: bytes that one chunk may take.

        Returns:
            Arrays of shape (draws, *site shape) by site, in the order of the model.

        Raises:
            InputError: the model raised an error, a latent has another shape than it was given, or
                has no proper prior to be drawn from.
        """
        with precision_of(dtype):
            found, arguments = self.outline(arguments)
            found.check_given({name: value.shape[1:] for name, value in given.items()})
            known = {name: value for name, value in given.items() if name in found.shapes}

            def one(row: tuple, data: tuple) -> dict[str, Any]:
                index, values = row
                seed, leaves = data
                args, kwargs = arguments.rebuild(leaves)
                key = jax.random.fold_in(jax.random.key(seed), index)
                return drawn_values(run_forwards(self._model, args, kwargs, key, values), values)

            rows = (np.arange(draws, dtype=np.int32), _floats(known, dtype))
            data = (_mixed(seed), arguments.leaves)
            made = self._call("draw", one, arguments, rows, data, dtype, memory)
        order = [name for name in found.shapes if name in made]
        return {name: made[name] for name in order}

    def log_likelihood(
        self, arguments: Arguments, given: Values, dtype: np.dtype, memory: float = MEMORY
    ) -> dict[str, np.ndarray]:
        """Return the log likelihood (draws, *batch shape) of every observation, by site.

        Plates that are subsampled count whole, and their scale is left out, as it is for all other
        changes of scale: each number is the log probability of one observation.
        """

        def one(values: dict, leaves: tuple) -> dict[str, Any]:
            args, kwargs = arguments.rebuild(leaves)
            return log_likelihoods(run_on_data(self._model, args, kwargs, values))

        with precision_of(dtype):
            _, arguments = self.outline(arguments)
            rows, leaves = _floats(given, dtype), arguments.leaves
            return self._call("likelihood", one, arguments, rows, leaves, dtype, memory)

    def observed(
        self, arguments: Arguments, given: Values, dtype: np.dtype
    ) -> dict[str, np.ndarray]:
        """Return the data of every observed site, those made inside the model included.

        Args:
            arguments: the model's arguments.
            given: values of all latents, each with a leading axis; the first of them is used.
            dtype: the floating type to compute in.
        """

        def one(values: dict, leaves: tuple) -> dict[str, Any]:
            args, kwargs = arguments.rebuild(leaves)
            return observed_values(run_on_data(self._model, args, kwargs, values))

        with precision_of(dtype):
            _, arguments = self.outline(arguments)
            first = {name: value[:1] for name, value in _floats(given, dtype).items()}
            made = self._call("observed", one, arguments, first, arguments.leaves, dtype, MEMORY)
        return {name: value[0] for name, value in made.items()}

    def _call(
        self,
        purpose: str,
        function: Callable,
        arguments: Arguments,
        rows: Any,
        data: Any,
        dtype: np.dtype,
        memory: float,
    ) -> dict[str, np.ndarray]:
        leaves, structure = jax.tree_util.tree_flatten(rows)
        draws = len(leaves[0])
        shapes = tuple((leaf.shape[1:], str(leaf.dtype)) for leaf in leaves)
        key = (
            *(purpose, arguments.key(), structure, shapes, memory, str(dtype)),
            min(MOST_ROWS, draws),
            self._watch.changes(),
        )
        chunks = self._compiled.get(key)
        if chunks is None:
            row = jax.tree_util.tree_map(lambda v: jax.ShapeDtypeStruct(v.shape[1:], v.dtype), rows)
            try:
                with self._watch.running():
                    chunks = Chunks(function, row, data, draws, memory, dtype)
            except InputError:
                raise
            except Exception as error:
                raise InputError(model_failed(self._model, error, arguments)) from error
            self._compiled.put(key, chunks)
        return chunks(rows, data)


def simulator_of(model: Callable) -> Simulator:
    """Return the simulator of a model, the same one for the same model."""
    key = identity(model)
    found = _SIMULATORS.get(key)
    if found is None:
        found = Simulator(model)
        _SIMULATORS.put(key, found)
    return found


class _Recent:
    """A dictionary of bounded size that forgets what was not used for longest."""

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._items: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: Hashable, item: Any) -> None:
        with self._lock:
            self._items[key] = item
            while len(self._items) > self._capacity:
                self._items.popitem(last=False)


_SIMULATORS = _Recent(_SIMULATORS_KEPT)


def _floats(values: Values, dtype: np.dtype) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(
            value, dtype if np.issubdtype(np.asarray(value).dtype, np.floating) else None
        )
        for name, value in values.items()
    }


def _mixed(seed: Collection[int]) -> np.uint32:
    return np.random.SeedSequence(tuple(seed)).generate_state(1)[0]
