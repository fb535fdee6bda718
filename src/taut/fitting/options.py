"""The options of a fit, and every mistake in them at once."""

import inspect
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from taut._core.errors import InputError, did_you_mean
from taut.loop.gaussian import GUIDE_NAMES
from taut.predictive.calls import model_of
from taut.targets.target import Target

ENGINE_OPTIONS = ("guide", "prior_ok", "seed", "budget", "modes", "progress", "checks")


def check_options(
    model: Any, args: tuple, kwargs: dict, guide: Any, prior_ok: Any, seed: Any, budget: Any
) -> None:
    """Raise an InputError that names every mistake in the options of a fit."""
    problems = []
    known = GUIDE_NAMES
    if isinstance(guide, type):
        problems.append(
            f"guide is a class; make a guide of it first, as in {guide.__name__}(model)"
        )
    elif callable(guide):
        if isinstance(model, Target) and model_of(model) is None:
            problems.append("a guide function needs a NumPyro model, whose sites it draws")
    elif not isinstance(guide, str) or guide not in known:
        hint = did_you_mean(guide, known) if isinstance(guide, str) else ""
        problems.append(f"unknown guide {guide!r}{hint}; guides: {', '.join(known)}")
    if prior_ok and isinstance(guide, str):
        problems.append("prior_ok is for a guide of your own; the named guides have every site")
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        problems.append(f"seed must be a whole number, zero or more; got {seed!r}")
    if budget is not None and not (isinstance(budget, (int, float)) and budget > 0):
        problems.append(f"budget must be a positive number of seconds, or None; got {budget!r}")
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
    if problems:
        raise InputError(problems)


def parameters_of(model: Any) -> Sequence[str]:
    """Return the names of a model's arguments, as far as they can be read."""
    try:
        return list(inspect.signature(model).parameters)
    except (TypeError, ValueError):
        return []
