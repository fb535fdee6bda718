"""The computed groups of an ArviZ tree for a fit of a PyMC model."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from taut._core.precision import precision_of
from taut.predictive.pymc_forward import draw_pymc_prior, replicate
from taut.results.group_size import PRIOR_DRAWS, too_large
from taut.results.record import Record
from taut.targets.pymc_model import PymcProgram
from taut.targets.target import Target

_ROWS = 256


class PymcGroups:
    """What PyMC's graph adds to the stored draws.

    Args:
        record: the fit.
        target: what was fitted.
        program: its program.

    Attributes:
        plates: names of the axes of all variables.
        coords: coordinate values, by axis name.
    """

    def __init__(self, record: Record, target: Target, program: PymcProgram):
        self._record, self._target, self._program = record, target, program
        self.plates = program.dims
        self.coords: Mapping[str, Any] = program.fitted_coords

    def too_large(self, group: str) -> str | None:
        """Return why a group is not made unasked, None if it is small enough."""
        if group == "constant_data":
            return None
        values = self._record.pool.values if group == "prior" else self._record.observed
        numbers = sum(math.prod(np.shape(v)[group == "prior" :]) for v in values.values())
        draws = PRIOR_DRAWS if group.startswith("prior") else len(self._record.pool)
        return too_large(group, numbers, draws, self._target.dtype.itemsize)

    def observed(self) -> Mapping[str, np.ndarray]:
        """Return the data of the observed variables."""
        return self._record.observed

    def constant_data(self) -> dict[str, np.ndarray]:
        """Return the model's other data."""
        return self._program.fitted_data

    def posterior_predictive(self) -> dict[str, np.ndarray]:
        """Return replicates of the observed variables."""
        made = replicate(self._program, self._record.pool.values, (self._record.seed, 0, 1))
        return {name: value for name, value in made.items() if name in self._record.observed}

    def log_likelihood(self) -> dict[str, np.ndarray]:
        """Return the log likelihood of each observation."""
        z, program, data = self._record.pool.z, self._program, self._target.data
        with precision_of(self._target.dtype):
            run = jax.jit(jax.vmap(lambda row: program.log_likelihood(data, row)))
            try:
                pieces = [run(z[i : i + _ROWS]) for i in range(0, len(z), _ROWS)]
            except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, NotImplementedError):
                return program.log_likelihood_one_by_one(z)
            return {
                name: np.concatenate([np.asarray(piece[name]) for piece in pieces])
                for name in pieces[0]
            }

    def prior(self) -> dict[str, np.ndarray]:
        """Return prior draws of everything that is not observed."""
        observed = self._record.observed
        return {name: v for name, v in self._prior_draws.items() if name not in observed}

    def prior_predictive(self) -> dict[str, np.ndarray]:
        """Return prior draws of the observed variables."""
        return {name: v for name, v in self._prior_draws.items() if name in self._record.observed}

    @functools.cached_property
    def _prior_draws(self) -> dict[str, np.ndarray]:
        return draw_pymc_prior(self._program, PRIOR_DRAWS, (self._record.seed, 0, 2))
