"""Predictions of a PyMC model, by PyMC's own forward sampling.

They are made with the data that the model holds when they are asked for: `pm.set_data` and then
`fit.predict()` predicts at new covariates, as in PyMC.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.targets.pymc_model import PymcProgram

NEW_DATA = "a PyMC model gets new data by pm.set_data: call predict() without arguments after it"
NOTHING = (
    "there is nothing to predict: the PyMC model has no observed and no deterministic variables"
)


def replicate(
    program: PymcProgram, posterior: Mapping[str, np.ndarray], seed: Sequence[int]
) -> dict[str, np.ndarray]:
    """Draw the observed variables, and compute the deterministics, at posterior draws.

    Variables whose dims have other coordinates than in the fit are drawn anew from their priors.

    Args:
        program: the program of the model.
        posterior: draws of the free variables, the draws on the first axis.
        seed: decides the draws.
    """
    import pymc
    import xarray as xr

    names = [*(v.name for v in program.model.observed_RVs), *program.deterministics]
    if not names:
        raise InputError(NOTHING)
    dims, coords = program.dims, program.fitted_coords
    variables = {}
    for site in program.sites:
        own = [d or f"{site.name}_dim_{i}" for i, d in enumerate(dims.get(site.name, ()))]
        own = own or [f"{site.name}_dim_{i}" for i in range(len(site.shape))]
        variables[site.name] = (("chain", "draw", *own), posterior[site.name][None])
    used = {d for axes, _ in variables.values() for d in axes}
    kept = {name: values for name, values in coords.items() if name in used}
    data = {
        name: (tuple(dims.get(name) or [f"{name}_dim_{i}" for i in range(array.ndim)]), array)
        for name, array in program.fitted_data.items()
    }
    fixed = xr.Dataset(
        data, {d: coords[d] for axes, _ in data.values() for d in axes if d in coords}
    )
    trace = _trace(posterior=xr.Dataset(variables, kept), constant_data=fixed)
    with _quiet():
        made: Any = pymc.sample_posterior_predictive(
            trace,
            model=program.model,
            var_names=names,
            random_seed=_one_number(seed),
            progressbar=False,
            return_inferencedata=False,
        )
    return {name: np.asarray(made[name])[0] for name in names}


def draw_pymc_prior(program: PymcProgram, draws: int, seed: Sequence[int]) -> dict[str, np.ndarray]:
    """Draw all variables of the model, observed ones included, from the prior."""
    import pymc

    with _quiet():
        made: Any = pymc.sample_prior_predictive(
            draws=draws,
            model=program.model,
            random_seed=_one_number(seed),
            return_inferencedata=False,
        )
    names = [
        *(site.name for site in program.sites),
        *program.deterministics,
        *(v.name for v in program.model.observed_RVs),
    ]
    return {
        name: np.asarray(made[name]).reshape(draws, *np.shape(made[name])[1:]) for name in names
    }


def _trace(**groups: Any) -> Any:
    try:
        from arviz import InferenceData
    except ImportError:
        import xarray as xr

        return xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
    return InferenceData(**groups)


def _one_number(seed: Sequence[int]) -> int:
    return int(np.random.default_rng(list(seed)).integers(2**31))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyMC from saying which variables it samples."""
    logger = logging.getLogger("pymc.sampling.forward")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
