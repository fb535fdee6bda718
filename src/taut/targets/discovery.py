"""One abstract run of a NumPyro model: its sites, concrete arguments, mistakes, and its density."""

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to

from taut._core.errors import InputError
from taut._core.fingerprint import Watch
from taut._core.precision import native_dtype, precision_of
from taut.targets.abstract_run import improper_value, run_abstractly
from taut.targets.arguments import Arguments
from taut.targets.indices import index_checks
from taut.targets.latents import at_vector, mark_end, model_alone, placeholder
from taut.targets.not_finite import suspected_arguments
from taut.targets.numpyro_model import (
    ModelProgram,
    WholePlates,
    latents_only,
    log_density_of,
    transport,
)
from taut.targets.program import Site
from taut.targets.random_weights import drawn_weights, left_to_learn
from taut.targets.site_log_prob import is_real, unwrapped
from taut.targets.validation import (
    ObservedCheck,
    check_latents,
    check_observed,
    check_params,
    observed_problems,
)

NO_DATA = (
    "no site of the model is observed, so this is a fit of the prior; was obs= meant to be None?"
)
DRAWS_BY_ITSELF = (
    "the model draws random numbers of NumPy's or Python's own when it is run, once for the whole "
    "fit, so the fit depends on them: draw them before, and pass them as an argument"
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
        InputError: the model cannot be fitted, be its data right or wrong.
    """
    dtype = native_dtype()
    results: list[Any] = []

    def read(args: tuple, kwargs: dict, tracers: list[Any]) -> _Reading:
        def run(params: dict[str, Any], jacobians: list[Any]) -> dict[str, dict]:
            place = transport(lambda message: _placeholder(message, dtype), jacobians)
            values = latents_only(lambda message: _first(place, improper_value, message))
            substituted = handlers.substitute(model, substitute_fn=values)
            whole = WholePlates(handlers.substitute(substituted, data=params))
            return handlers.trace(handlers.seed(whole, rng_seed=0)).get_trace(*args, **kwargs)

        jacobians: list[Any] = []
        trace = run({}, jacobians)
        # Supports may hold tracers, so the trace is read while they are alive.
        reading = _read(trace, left_to_learn(trace, lambda params: run(params, [])), tracers)
        mark_end()
        results[:] = _traced_values(trace, reading, jacobians, dtype)
        return reading

    drawn = _global_random_state()
    try:
        with precision_of(dtype):
            reading, arguments, asked_for, traced = run_abstractly(
                model, arguments, watch, read, results=results
            )
    except InputError as error:
        if unsure := suspected_arguments(arguments.leaf_names, arguments.leaves, ()):
            raise InputError([*error.problems, *unsure]) from None
        raise
    held = (*held, *asked_for)
    if reading.problems:
        names, leaves = arguments.leaf_names, arguments.leaves
        raise InputError(
            [
                *reading.problems,
                *observed_problems(reading.checks, names, leaves),
                *suspected_arguments(names, leaves, reading.checks),
            ]
        )
    notes = (*(_held_note(name) for name in held), *reading.notes)
    if drawn != _global_random_state():
        notes = (*notes, DRAWS_BY_ITSELF)
    program = ModelProgram(
        model,
        arguments,
        reading.sites,
        reading.deterministics,
        reading.weights,
        notes,
        reading.checks,
        index_checks(model_alone(traced)),
        watch,
        at_vector(traced, reading.sites, dtype) if results else None,
    )
    return program, arguments


def _global_random_state() -> tuple[Any, ...]:
    """Return what changes when numbers are drawn from NumPy's or Python's own generator."""
    return random.getstate(), _plain(np.random.get_state(legacy=False))


def _plain(state: Any) -> Any:
    """Return a generator's state, of whatever kind it is, as what can be compared."""
    if isinstance(state, dict):
        return tuple((key, _plain(value)) for key, value in state.items())
    return state.tobytes() if isinstance(state, np.ndarray) else state


def _first(one: Callable[[dict], Any], other: Callable[[dict], Any], message: dict) -> Any:
    value = one(message)
    return other(message) if value is None else value


def _placeholder(message: dict, dtype: np.dtype) -> Any:
    """Return what stands for the latent of a site, or None where there is none as yet."""
    support = message["fn"].support
    if support.is_discrete or "_scan_current_index" in message["infer"]:
        return None
    shape = tuple(message["kwargs"].get("sample_shape", ())) + tuple(message["fn"].shape())
    try:
        shape = _latent_shape(support, shape)
    except NotImplementedError:
        return None
    return placeholder(message["name"], shape, dtype)


def _traced_values(
    trace: dict, reading: "_Reading", jacobians: list[Any], dtype: np.dtype
) -> list[Any]:
    """Return the log density and all values of a run, if another run would make the same."""
    again = any(m["type"] in ("param", "mutable", "control_flow") for m in trace.values())
    if reading.problems or again or any(m.get("_control_flow_done") for m in trace.values()):
        return []
    names = (*(site.name for site in reading.sites), *reading.deterministics)
    try:
        density = log_density_of(trace, jacobians, dtype)
    except Exception:
        # Where the density is asked for it is said what is wrong.
        return []
    return [density, *(trace[name]["value"] for name in names)]


@dataclasses.dataclass(frozen=True)
class _Reading:
    """What one abstract run says, free of tracers."""

    problems: tuple[str, ...]
    sites: tuple[Site, ...]
    deterministics: tuple[str, ...]
    weights: dict[str, Any]
    checks: tuple[ObservedCheck, ...]
    notes: tuple[str, ...]


def _read(trace: dict, learned: list[str], tracers: list[Any]) -> _Reading:
    shape_problems, checks = check_observed(trace, tracers)
    problems = (*check_params(learned), *check_latents(trace), *shape_problems)
    notes = (*_subsampling_notes(trace), *_left_out_notes(trace), *_empty_notes(trace))
    if not any(m["type"] == "sample" and m["is_observed"] for m in trace.values()):
        notes = (*notes, NO_DATA)
    sites: list[Site] = []
    deterministics: list[str] = []
    for name, message in trace.items():
        if message["type"] == "deterministic" and _is_array(message["value"]):
            if np.size(message["value"]) > 0:
                deterministics.append(name)
        latent = message["type"] == "sample" and not message["is_observed"]
        if latent and not problems:
            offset = sites[-1].offset + sites[-1].size if sites else 0
            sites.append(_describe_site(name, message, offset))
    weights = drawn_weights(trace)
    return _Reading(problems, tuple(sites), tuple(deterministics), weights, checks, notes)


def _describe_site(name: str, message: dict, offset: int) -> Site:
    support = message["fn"].support
    shape = tuple(np.shape(message["value"]))
    latent_shape = _latent_shape(support, shape)
    event_dim = message["fn"].event_dim
    dims: list[str | None] = [None] * len(shape)
    for frame in message["cond_indep_stack"]:
        axis = len(shape) - event_dim + frame.dim
        if 0 <= axis < len(shape):
            dims[axis] = frame.name
    return Site(name, shape, latent_shape, offset, tuple(dims), _support_name(support))


def _latent_shape(support: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if is_real(support) else tuple(biject_to(support).inverse_shape(shape))


def _support_name(support: Any) -> str:
    base = getattr(support, "base_constraint", support)
    return type(base).__name__.lstrip("_").lower()


def _held_note(name: str) -> str:
    return (
        f"argument {name!r} is held static: the model reads its value, so other values of it "
        "compile anew"
    )


def _is_array(value: Any) -> bool:
    """Whether a value is one array of numbers, or a number."""
    if isinstance(value, bool | int | float | complex):
        return True
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        return False
    return any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.number, jnp.bool_))


def _left_out_notes(trace: dict) -> list[str]:
    values = {n: m["value"] for n, m in trace.items() if m["type"] == "deterministic"}
    return [
        f"deterministic site {name!r} is left out: it holds no array but a {type(value).__name__}; "
        "give each of its arrays a name"
        for name, value in values.items()
        if not _is_array(value)
    ]


def _empty_notes(trace: dict) -> list[str]:
    observed = {n: m for n, m in trace.items() if m["type"] == "sample" and m["is_observed"]}
    return [
        f"the data of site {name!r} are empty, so they say nothing"
        for name, message in observed.items()
        if np.size(message["value"]) == 0 and type(unwrapped(message["fn"])).__name__ != "Unit"
    ]


def _subsampling_notes(trace: dict) -> list[str]:
    return [
        f"plate {name!r} is used whole ({message['args'][0]} rows), not subsampled"
        for name, message in trace.items()
        if message["type"] == "plate" and message.get("taut_whole")
    ]
