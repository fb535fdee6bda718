"""Runs a model without computing anything, to see what it would do.

The model is traced by JAX with the data as tracers. When it asks for the value of a
tracer, as `len(np.unique(index))` does, the argument it asked for is held static and the run is
repeated.
"""

import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from taut._core.collector import collector_held
from taut._core.errors import InputError
from taut._core.fingerprint import Watch
from taut.targets.arguments import Arguments, not_numbers, traced_shape
from taut.targets.location import model_location, plain_words
from taut.targets.validation import CANNOT_SAMPLE

NEEDS_A_VALUE = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)
NEEDS_A_VALUE += (jax.errors.TracerIntegerConversionError, jax.errors.NonConcreteBooleanIndexError)
"""Errors of programs that ask a traced value for its number."""

NEEDS_A_NUMBER = "uses a param or a drawn value where Python or NumPy needs a plain number"
WRITE_IN_JAX = "Write jnp in place of np, jnp.where in place of if, and no float() or int()"
NO_NUMBERS = ("as an abstract array", "not a valid dtype")
"""In JAX's words for values that it cannot compute with."""

Reading = TypeVar("Reading")


def run_abstractly(
    model: Callable,
    arguments: Arguments,
    watch: Watch,
    read: Callable[[tuple, dict, list[Any]], Reading],
    guide: Callable | None = None,
    results: Sequence[Any] = (),
) -> tuple[Reading, Arguments, tuple[str, ...], ClosedJaxpr]:
    """Run a model with tracers for its data, and read what it did.

    Args:
        model: the user's function, for error messages.
        arguments: its arguments.
        watch: notices changes in what the model reads; those of the runs made here are excused.
        read: `read(args, kwargs, tracers)` runs the model and returns what is wanted of the run,
            free of tracers; `tracers` stand for the data leaves in order.
        guide: a guide that is run with the model, for error messages.
        results: what the traced run is to return, a list for `read` to fill.

    Returns:
        What was read, the arguments with those held static that had to be, the names of these, and
        the traced run as a function of the data leaves.

    Raises:
        InputError: model or guide raised an error.
    """
    held: tuple[str, ...] = ()
    while True:
        tracers: list[Any] = []
        try:
            with watch.running(), collector_held():
                reading, traced = _run_once(arguments, tracers, read, results)
            return reading, arguments, held, traced
        except NEEDS_A_VALUE as error:
            names = _asked_for(error, arguments, tracers)
            if not names:
                raise InputError(_failed(model, guide, error, arguments)) from None
        except InputError:
            raise
        except Exception as error:
            raise InputError(_failed(model, guide, error, arguments)) from None
        held = (*held, *names)
        arguments = arguments.hold_static(names)


def improper_value(message: dict) -> Any:
    """Return a value for a latent whose distribution cannot be sampled; None for any other.

    Any value in the support will do to see shapes.
    """
    if message["type"] != "sample" or message["is_observed"]:
        return None
    if not is_improper(message["fn"]):
        return None
    fn = message["fn"]
    shape = tuple(message["kwargs"].get("sample_shape", ())) + tuple(fn.shape())
    return fn.support.feasible_like(jnp.zeros(shape))


def is_improper(fn: Any) -> bool:
    """Whether a distribution, or the one it wraps, cannot be sampled."""
    while fn is not None:
        if type(fn).__name__ in CANNOT_SAMPLE:
            return True
        fn = getattr(fn, "base_dist", None)
    return False


def model_failed(
    model: Callable, error: Exception, arguments: Arguments, program: str = "model"
) -> str:
    """Return the sentence for an error that a model, or a guide, raised, and what may help."""
    label, where = label_of(model), model_location(error)
    if isinstance(error, NEEDS_A_VALUE):
        return f"{program} {label!r} {NEEDS_A_NUMBER}{where}. {WRITE_IN_JAX}"
    first = plain_words(error)
    said = f"{program} {label!r} raised {type(error).__name__}{where}: {first}"
    if "shape" in first:
        leaves = zip(arguments.leaf_names, arguments.leaves, strict=True)
        shapes = [f"{name} {np.shape(value)}" for name, value in leaves]
        said += f" (the arguments have shapes: {', '.join(shapes)})" if shapes else ""
    text = not_numbers(arguments) if any(words in first for words in NO_NUMBERS) else []
    if text:
        said = f"{program} {label!r} computes{where} with what is no number"
    return "; ".join([said, *text])


def label_of(function: Callable) -> str:
    """Return the name by which messages call a user's function."""
    return getattr(function, "__name__", type(function).__name__)


def _failed(model: Callable, guide: Callable | None, error: Exception, arguments: Arguments) -> str:
    code = getattr(guide, "__code__", None)
    frames = traceback.walk_tb(error.__traceback__)
    if guide is not None and any(frame.f_code is code for frame, _ in frames):
        return model_failed(guide, error, arguments, "guide")
    return model_failed(model, error, arguments)


def _run_once(
    arguments: Arguments,
    tracers: list[Any],
    read: Callable[[tuple, dict, list[Any]], Reading],
    results: Sequence[Any],
) -> tuple[Reading, ClosedJaxpr]:
    found: list[Reading] = []

    def run(leaves):
        tracers[:] = leaves
        args, kwargs = arguments.rebuild(leaves)
        found.append(read(args, kwargs, tracers))
        return list(results)

    traced = jax.make_jaxpr(run)([traced_shape(leaf) for leaf in arguments.leaves])
    return found[0], traced


def _asked_for(error: Exception, arguments: Arguments, tracers: list[Any]) -> list[str]:
    """Name the arguments whose value the model asked for."""
    names = arguments.leaf_names
    by_id = {id(tracer): name for tracer, name in zip(tracers, names, strict=False)}
    # The tracer that was asked is a local of the innermost frames.
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames[-6:]):
        hits = {by_id[id(v)] for v in frame.f_locals.values() if id(v) in by_id}
        if len(hits) == 1:
            return list(hits)
    # A value computed from arguments: JAX's message lists them by position.
    text = str(error)
    mentioned = [n for i, n in enumerate(names) if f"leaves[{i}]" in text]
    if mentioned:
        return mentioned
    # Sizes and indices are integers: hold those before holding everything.
    flat = list(zip(names, arguments.leaves, strict=True))
    integers = [n for n, v in flat if not jnp.issubdtype(v.dtype, np.floating)]
    return integers or [n for n, _ in flat]
