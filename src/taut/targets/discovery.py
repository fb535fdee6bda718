"""One abstract run of a NumPyro model: its sites, its concrete arguments, its mistakes.

The model runs under `jax.eval_shape` with the data as tracers, so nothing is computed or compiled.
When it asks for the value of a tracer, as `len(np.unique(index))` does, the argument it asked for
is held static and the run is repeated.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to

from taut._core.errors import InputError
from taut._core.fingerprint import Watch
from taut.targets.arguments import Arguments
from taut.targets.location import model_location
from taut.targets.numpyro_model import ModelProgram, WholePlates
from taut.targets.program import Site
from taut.targets.site_log_prob import is_real
from taut.targets.validation import (
    CANNOT_SAMPLE,
    ObservedCheck,
    check_latents,
    check_observed,
    check_params,
    data_problems,
)

_NEEDS_A_VALUE = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)
_NEEDS_A_VALUE += (jax.errors.TracerIntegerConversionError, jax.errors.NonConcreteBooleanIndexError)


NO_DATA = (
    "no site of the model is observed, so this is a fit of the prior; was obs= meant to be None?"
)


def discover(
    model: Callable, arguments: Arguments, held: tuple[str, ...], watch: Watch
) -> tuple[ModelProgram, Arguments]:
    """Run a model abstractly and describe it.

    Args:
        model: the user's function.
        arguments: its arguments.
        held: arguments already known to be needed as concrete values.
        watch: notices changes in what the model reads; those of the runs made here are excused.

    Returns:
        The program, and the arguments as it takes them.

    Raises:
        InputError: all problems with the model and its data that can be seen before computing.
    """
    while True:
        tracers: list[Any] = []
        try:
            reading = _abstract_run(model, arguments, tracers)
            break
        except _NEEDS_A_VALUE as error:
            names = _asked_for(error, arguments, tracers)
            if not names:
                raise InputError(_model_failed(model, error)) from None
        except InputError:
            raise
        except Exception as error:
            raise InputError(_model_failed(model, error)) from None
        finally:
            watch.excuse_run()
        held = (*held, *names)
        arguments = arguments.hold_static(names)

    problems = [*reading.problems, *data_problems(reading.checks, arguments)]
    if problems:
        raise InputError(problems)
    notes = (*(_held_note(name) for name in held), *reading.notes)
    program = ModelProgram(
        model, arguments, reading.sites, reading.deterministics, notes, reading.checks, watch
    )
    return program, arguments


@dataclasses.dataclass(frozen=True)
class _Reading:
    """What one abstract run says, free of tracers."""

    problems: tuple[str, ...]
    sites: tuple[Site, ...]
    deterministics: tuple[str, ...]
    checks: tuple[ObservedCheck, ...]
    notes: tuple[str, ...]


def _abstract_run(model: Callable, arguments: Arguments, tracers: list[Any]) -> _Reading:
    found: list[_Reading] = []

    def run(leaves):
        tracers[:] = leaves
        args, kwargs = arguments.rebuild(leaves)
        seeded = handlers.seed(
            WholePlates(handlers.substitute(model, substitute_fn=_improper_value)), rng_seed=0
        )
        trace = handlers.trace(seeded).get_trace(*args, **kwargs)
        # Supports may hold tracers, so the trace is read while they are alive.
        found.append(_read(trace, tracers))

    shapes = [
        jax.ShapeDtypeStruct(np.shape(v), jax.dtypes.canonicalize_dtype(v.dtype))
        for v in arguments.leaves
    ]
    jax.eval_shape(run, shapes)
    return found[0]


def _read(trace: dict, tracers: list[Any]) -> _Reading:
    shape_problems, checks = check_observed(trace, tracers)
    problems = (*check_params(trace), *check_latents(trace), *shape_problems)
    notes = tuple(_subsampling_notes(trace))
    if not any(m["type"] == "sample" and m["is_observed"] for m in trace.values()):
        notes = (*notes, NO_DATA)
    sites: list[Site] = []
    deterministics: list[str] = []
    for name, message in trace.items():
        if message["type"] == "deterministic" and np.size(message["value"]) > 0:
            deterministics.append(name)
        latent = message["type"] == "sample" and not message["is_observed"]
        if latent and not problems:
            offset = sites[-1].offset + sites[-1].size if sites else 0
            sites.append(_describe_site(name, message, offset))
    return _Reading(problems, tuple(sites), tuple(deterministics), checks, notes)


def _improper_value(message: dict) -> Any:
    # An improper distribution cannot be sampled; any value in its support will do to see shapes.
    if message["type"] != "sample" or message["is_observed"]:
        return None
    if type(message["fn"]).__name__ not in CANNOT_SAMPLE and not _wraps_improper(message["fn"]):
        return None
    fn = message["fn"]
    shape = tuple(message["kwargs"].get("sample_shape", ())) + tuple(fn.shape())
    return fn.support.feasible_like(jnp.zeros(shape))


def _wraps_improper(fn: Any) -> bool:
    while fn is not None:
        if type(fn).__name__ in CANNOT_SAMPLE:
            return True
        fn = getattr(fn, "base_dist", None)
    return False


def _asked_for(error: Exception, arguments: Arguments, tracers: list[Any]) -> list[str]:
    """Name the arguments whose value the model asked for."""
    names = arguments.leaf_names
    by_id = {id(tracer): name for tracer, name in zip(tracers, names, strict=False)}
    # The tracer that was asked is a local of the innermost frames.
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
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


def _describe_site(name: str, message: dict, offset: int) -> Site:
    support = message["fn"].support
    shape = tuple(np.shape(message["value"]))
    latent_shape = shape if is_real(support) else tuple(biject_to(support).inverse_shape(shape))
    event_dim = message["fn"].event_dim
    dims: list[str | None] = [None] * len(shape)
    for frame in message["cond_indep_stack"]:
        axis = len(shape) - event_dim + frame.dim
        if 0 <= axis < len(shape):
            dims[axis] = frame.name
    return Site(name, shape, latent_shape, offset, tuple(dims), _support_name(support))


def _support_name(support: Any) -> str:
    base = getattr(support, "base_constraint", support)
    return type(base).__name__.lstrip("_").lower()


def _held_note(name: str) -> str:
    return (
        f"argument {name!r} is held static: the model reads its value, so other values of it "
        "compile anew"
    )


def _subsampling_notes(trace: dict) -> list[str]:
    return [
        f"plate {name!r} is used whole ({message['args'][0]} rows), not subsampled"
        for name, message in trace.items()
        if message["type"] == "plate" and message.get("taut_whole")
    ]


def _model_failed(model: Callable, error: Exception) -> str:
    label = getattr(model, "__name__", type(model).__name__)
    first = (str(error).strip() or "no message").splitlines()[0]
    where = model_location(error)
    return f"model {label!r} raised {type(error).__name__}{where}: {first}"
