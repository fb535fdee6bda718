"""The options of a fit, and every mistake in them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from taut._core.errors import did_you_mean
from taut.loop.gaussian import GUIDE_NAMES
from taut.predictive.calls import model_of
from taut.targets.target import Target

ENGINE_OPTIONS = ("guide", "prior_ok", "seed", "budget", "modes", "progress", "checks")

NUMBERS = (int, float, np.integer, np.floating)


def guide_problems(model: Any, guide: Any, prior_ok: Any) -> list[str]:
    """Say what is wrong with the guide that is asked for."""
    problems = []
    if isinstance(guide, type):
        problems.append(
            f"guide is a class; make a guide of it first, as in {guide.__name__}(model)"
        )
    elif callable(guide):
        if isinstance(model, Target) and model_of(model) is None:
            problems.append("a guide function needs a NumPyro model, whose sites it draws")
    elif not isinstance(guide, str) or guide not in GUIDE_NAMES:
        problems.append(unknown_guide(guide))
    if prior_ok and isinstance(guide, str):
        problems.append("prior_ok is for a guide of your own; the named guides have every site")
    return problems


def unknown_guide(guide: Any) -> str:
    """Return the sentence for a guide that is none."""
    hint = did_you_mean(guide, GUIDE_NAMES) if isinstance(guide, str) else ""
    return f"unknown guide {guide!r}{hint}; guides: {', '.join(GUIDE_NAMES)}"


def number_problems(seed: Any, budget: Any) -> list[str]:
    """Say what is wrong with the seed and the budget."""
    problems = []
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        problems.append(f"seed must be a whole number, zero or more; got {seed!r}")
    if budget is not None and not (isinstance(budget, NUMBERS) and budget > 0):
        problems.append(f"budget must be a positive number of seconds, or None; got {budget!r}")
    return problems


def switch_problems(model: Any, switches: Mapping[str, Any]) -> list[str]:
    """Say which options that are on or off are neither, if they are not the model's."""
    return [
        f"{name} must be True or False; got {value!r}"
        for name, value in switches.items()
        if not is_switch(value) and name not in parameters_of(model)
    ]


def is_switch(value: Any) -> bool:
    """Whether a value is True or False, Python's or NumPy's."""
    return isinstance(value, (bool, np.bool_))


def call_problems(model: Any, args: tuple, kwargs: dict) -> list[str]:
    """Say why a model cannot be bound to the arguments of a fit."""
    problems = []
    if isinstance(model, Target):
        if args or kwargs:
            problems.append("a target has its arguments already; pass it alone")
    else:
        clashes = [name for name in parameters_of(model) if name in ENGINE_OPTIONS]
        problems += [
            f"the model's argument {name!r} has the name of an option of taut.fit; bind the model "
            f"first: taut.fit(taut.target(model, ..., {name}=...))"
            for name in clashes
        ]
    if any(isinstance(v, Tracer) for v in jax.tree_util.tree_leaves((args, kwargs))):
        problems.append(
            "taut.fit decides on the host what to do next, so it cannot run inside jax.jit, vmap "
            "or grad; call it outside"
        )
    return problems


def parameters_of(model: Any) -> Sequence[str]:
    """Return the names of a model's arguments, as far as they can be read."""
    try:
        return list(inspect.signature(model).parameters)
    except (TypeError, ValueError):
        return []
