"""One abstract run of a NumPyro model: its sites, its concrete arguments, its mistakes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to

from taut._core.errors import InputError
from taut._core.fingerprint import Watch
from taut.targets.abstract_run import improper_value, run_abstractly
from taut.targets.arguments import Arguments
from taut.targets.indices import index_checks
from taut.targets.not_finite import suspected_arguments
from taut.targets.numpyro_model import ModelProgram, WholePlates
from taut.targets.program import Site
from taut.targets.random_weights import drawn_weights, left_to_learn
from taut.targets.site_log_prob import is_real
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

    def read(args: tuple, kwargs: dict, tracers: list[Any]) -> _Reading:
        def run(params: dict[str, Any]) -> dict[str, dict]:
            substituted = handlers.substitute(model, substitute_fn=improper_value)
            whole = WholePlates(handlers.substitute(substituted, data=params))
            return handlers.trace(handlers.seed(whole, rng_seed=0)).get_trace(*args, **kwargs)

        trace = run({})
        # Supports may hold tracers, so the trace is read while they are alive.
        return _read(trace, left_to_learn(trace, run), tracers)

    try:
        reading, arguments, asked_for, traced = run_abstractly(model, arguments, watch, read)
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
    program = ModelProgram(
        model,
        arguments,
        reading.sites,
        reading.deterministics,
        reading.weights,
        notes,
        reading.checks,
        index_checks(traced),
        watch,
    )
    return program, arguments


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
    weights = drawn_weights(trace)
    return _Reading(problems, tuple(sites), tuple(deterministics), weights, checks, notes)


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
