"""Posterior predictive draws of a fit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError, did_you_mean
from taut.predictive.calls import bind_call, bound_call, check_numbers, model_of
from taut.predictive.pymc_forward import NEW_DATA, draw_pymc_prior, replicate
from taut.predictive.simulator import simulator_of
from taut.results.record import Record
from taut.targets.pymc_model import PymcProgram
from taut.targets.target import Target

OPTIONS = ("draws", "seed", "anew", "megabytes")

NEEDS_FUNCTION = (
    "predictions need the model, and this fit was loaded without it: load it as "
    "taut.load(path, model)"
)
NEEDS_CALL = (
    "{what} needs the model and its data, and this fit was loaded without them: load it as "
    "taut.load(path, model, *args, **kwargs)"
)

NOTHING = (
    "there is nothing to predict: the model has no deterministic values, and no site in this call "
    "that is not a fitted latent (a numpyro.factor cannot be drawn from)"
)


def predict(
    record: Record,
    model: Callable | None,
    target: Target | None,
    posterior: Mapping[str, np.ndarray],
    args: tuple,
    kwargs: Mapping[str, Any],
    seed: int,
    anew: Sequence[str],
    megabytes: float,
) -> dict[str, np.ndarray]:
    """Draw what a model predicts from posterior draws; see `Fit.predict`."""
    draws = len(next(iter(posterior.values())))
    latents = [site.name for site in record.sites]
    unknown = [name for name in anew if name not in latents]
    if unknown:
        raise InputError(
            [
                f"anew: the fit has no latent site {name!r}{did_you_mean(name, latents)}; it has: "
                f"{', '.join(latents)}"
                for name in unknown
            ]
        )
    if target is not None and isinstance(target.program, PymcProgram):
        if args or kwargs or anew:
            raise InputError(NEW_DATA)
        return replicate(target.program, posterior, (record.seed, seed, 1))
    if args or kwargs:
        if model is None:
            raise InputError(NEEDS_FUNCTION)
        arguments = bind_call(model, args, kwargs, OPTIONS)
    elif target is not None:
        model, arguments = bound_call(target)
    else:
        raise InputError(NEEDS_FUNCTION if model is None else NEEDS_CALL.format(what="predict()"))
    given = {name: posterior[name] for name in latents if name not in anew}
    made = simulator_of(model).draw(
        arguments,
        given,
        draws,
        (record.seed, seed, 1),
        np.dtype(record.dtype),
        megabytes * 1e6,
    )
    if not made:
        raise InputError(NOTHING)
    return made


def draw_prior(
    record: Record, target: Target | None, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Draw a fit's sites from the prior; see `Fit.prior`."""
    check_numbers(draws, seed, 1)
    if target is None:
        raise InputError(NEEDS_CALL.format(what="the prior"))
    seeds = (record.seed, seed, 2)
    if isinstance(target.program, PymcProgram):
        return draw_pymc_prior(target.program, draws, seeds)
    model, arguments = bound_call(target)
    return simulator_of(model).draw(arguments, {}, draws, seeds, np.dtype(record.dtype))


def observed_data(record: Record, target: Target | None) -> Mapping[str, np.ndarray]:
    """Return the data of a fit's observed sites; see `Fit.observed`."""
    if target is None or model_of(target) is None:
        return record.observed
    model, arguments = bound_call(target)
    latents = {site.name: np.asarray(record.pool.values[site.name]) for site in record.sites}
    return simulator_of(model).observed(arguments, latents, np.dtype(record.dtype))
