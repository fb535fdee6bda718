"""How a model is called for predictions: new arguments, or those it was fitted with."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.targets.arguments import Arguments, bind_arguments
from taut.targets.numpyro_model import ModelProgram
from taut.targets.target import Target

ONLY_MODELS = "a log density has no observed sites to draw; predictions need a NumPyro model"


def bind_call(
    model: Callable, args: tuple, kwargs: Mapping[str, Any], options: tuple[str, ...]
) -> Arguments:
    """Bind a model to the arguments of a call that also takes options of its own.

    Raises:
        InputError: the model does not take these arguments, or has one with the name of an option
            that is not given by position.
    """
    try:
        signature = inspect.signature(model)
        given = signature.bind_partial(*args).arguments
    except (TypeError, ValueError):  # told by bind_arguments, or no readable signature
        return bind_arguments(model, args, dict(kwargs))
    clashes = [n for n in signature.parameters if n in options and n not in given]
    if clashes:
        raise InputError(
            [
                f"the model's argument {name!r} has the name of an option of this call; give it by "
                "position, among the arguments before it"
                for name in clashes
            ]
        )
    return bind_arguments(model, args, dict(kwargs))


def bound_call(target: Target) -> tuple[Callable, Arguments]:
    """Return the model of a target and the arguments it was bound to.

    Raises:
        InputError: the target is a plain log density.
    """
    program = target.program
    if not isinstance(program, ModelProgram):
        raise InputError(ONLY_MODELS)
    return program.function, program.arguments.with_data(target.data)


def model_of(target: Target) -> Callable | None:
    """Return the NumPyro model of a target, None if it is a plain log density."""
    program = target.program
    return program.function if isinstance(program, ModelProgram) else None


def check_numbers(draws: Any, seed: Any, megabytes: Any = 1.0, name: str = "draws") -> None:
    """Check the options that all calls for draws share.

    Args:
        draws: how many draws.
        seed: what decides them.
        megabytes: memory that a chunk may take.
        name: of the number of draws.

    Raises:
        InputError: with everything that is wrong.
    """
    problems = []
    if not _is_whole(draws) or draws < 1:
        problems.append(f"{name} must be a whole number, one or more; got {draws!r}")
    if not _is_whole(seed) or seed < 0:
        problems.append(f"seed must be a whole number, zero or more; got {seed!r}")
    if not isinstance(megabytes, (int, float)) or not megabytes > 0:
        problems.append(f"megabytes must be a positive number; got {megabytes!r}")
    if problems:
        raise InputError(problems)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
