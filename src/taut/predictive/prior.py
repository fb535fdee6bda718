"""Draws from a model before it has seen data."""

from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.predictive.calls import bind_call, bound_call, check_numbers
from taut.predictive.pymc_forward import draw_pymc_prior
from taut.predictive.simulator import simulator_of
from taut.targets.pymc_model import PymcProgram, is_pymc_model
from taut.targets.representable import dtype_without, lost_in_single
from taut.targets.target import Target, target

OPTIONS = ("draws", "seed", "megabytes")


def prior(
    model_or_target: Any,
    /,
    *args: Any,
    draws: int = 4000,
    seed: int = 0,
    megabytes: float = 256.0,
    **kwargs: Any,
) -> dict[str, np.ndarray]:
    """Draw from the prior and the prior predictive distribution of a model.

    Latents are drawn from their priors, then everything else given these, in one compiled call for
    each chunk of draws. Data that are passed give shapes only: observed sites are drawn.

    Args:
        model_or_target: a NumPyro model, a PyMC model, or a target made by `taut.target`.
        *args: the model's positional arguments.
        draws: how many draws.
        seed: decides the draws.
        megabytes: memory that one chunk of draws may take on the device.
        **kwargs: the model's keyword arguments. One that has the name of an option here must be
            given by position.

    Returns:
        Arrays of shape (draws, *site shape) by site, in the model's order: latents, deterministic
        values and observed sites.

    Raises:
        InputError: the arguments do not fit the model, or a prior is improper.
    """
    check_numbers(draws, seed, megabytes)
    if is_pymc_model(model_or_target):
        model_or_target = target(model_or_target, *args, **kwargs)
    if isinstance(model_or_target, Target):
        if isinstance(model_or_target.program, PymcProgram):
            return draw_pymc_prior(model_or_target.program, draws, (seed,))
        if args or kwargs:
            raise InputError("a target has its arguments already; pass it alone")
        model, arguments = bound_call(model_or_target)
    else:
        model, arguments = model_or_target, bind_call(model_or_target, args, kwargs, OPTIONS)
    dtype = dtype_without(lost_in_single(arguments.leaf_names, arguments.leaves))
    return simulator_of(model).draw(arguments, {}, draws, (seed,), dtype, megabytes * 1e6)
