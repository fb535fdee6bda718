"""What a fit is given, read and checked as a whole before anything is optimised."""

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np

from taut._core.errors import InputError
from taut._core.precision import precision_of
from taut.fitting.options import call_problems, guide_problems, number_problems, switch_problems
from taut.loop.starts import LARGEST_FULL_RANK
from taut.targets.not_finite import NotFinite
from taut.targets.problems import Problems
from taut.targets.target import Target, target


def read_entry(
    model: Any,
    args: tuple,
    kwargs: dict,
    guide: Any,
    prior_ok: Collection[str],
    seed: Any,
    budget: Any,
    switches: Mapping[str, Any],
) -> tuple[Target, Any]:
    """Bind a model to its arguments, and read a guide of the user's own.

    Args:
        model: model or target, the first argument of `taut.fit`.
        args: the model's positional arguments.
        kwargs: its keyword arguments.
        guide: as `taut.fit` takes it, like the next three.
        prior_ok: latent sites that a guide may leave out.
        seed: decides every random number.
        budget: seconds, or None.
        switches: the options that are on or off, by name.

    Returns:
        The target, and the guide as it was read; None for one that is asked for by name.

    Raises:
        InputError: every problem with model, data, guide and options.
    """
    wrong_guide = guide_problems(model, guide, prior_ok)
    wrong_call = call_problems(model, args, kwargs)
    options = [*number_problems(seed, budget), *switch_problems(model, switches)]
    problems = Problems([*wrong_guide, *options, *wrong_call])
    bound = None if wrong_call else problems.attempt(_bind, model, args, kwargs)
    if bound is None:
        raise InputError(problems.found)
    own = None if wrong_guide else problems.attempt(_read_guide, bound, guide, prior_ok)
    if problems.found:
        # What the density itself raises is told when all else is mended.
        with contextlib.suppress(Exception):
            problems.attempt(_evaluate, bound)
        raise InputError(problems.found)
    return bound, own


def _bind(model: Any, args: tuple, kwargs: dict) -> Target:
    return model if isinstance(model, Target) else target(model, *args, **kwargs)


def _evaluate(bound: Target) -> None:
    """Raise what a fit would meet at its first start: a density that fails, or is not finite."""
    with precision_of(bound.dtype):
        jax.eval_shape(bound.log_density, np.zeros(bound.dim))
    arguments = NotFinite(bound.program, bound.data_names, bound.data)
    if problems := arguments.problems():
        raise InputError(problems)


def _read_guide(bound: Target, guide: str | Callable, prior_ok: Collection[str]) -> Any:
    if not isinstance(guide, str):
        # Fits by name need nothing of the explicit interface, which takes long to import.
        from taut.infer.own_guide import read_guide

        return read_guide(bound, guide, prior_ok)
    if guide in ("mixture", "flow") and bound.dim > LARGEST_FULL_RANK:
        raise InputError(
            f"a {guide} holds full covariances, for up to {LARGEST_FULL_RANK} latent values; the "
            f"model has {bound.dim}"
        )
    return None
