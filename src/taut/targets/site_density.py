"""From a model's named values back to latent vectors."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from taut._core.errors import InputError, did_you_mean
from taut._core.precision import precision_of
from taut.targets.target import Target


class SiteDensity:
    """Maps site values to latent vectors and log Jacobians.

    Args:
        target: whose sites to map.
    """

    def __init__(self, target: Target):
        self._target = target

    def __call__(self, values: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, bool]:
        """Return latent vectors (n, dim), log|det d values / d z| (n,), and whether n was implied.

        Raises:
            InputError: a site is missing, unknown or of the wrong shape.
        """
        program = self._target.program
        known = [site.name for site in program.sites]
        problems = [
            f"unknown site {name!r}{did_you_mean(name, known)}"
            for name in values
            if name not in known and name not in program.deterministics
        ]
        problems += [f"site {name!r} is missing" for name in known if name not in values]
        if problems:
            raise InputError(problems)
        arrays = {name: np.asarray(values[name]) for name in known}
        first = program.sites[0]
        single = arrays[first.name].shape == first.shape
        if single:
            arrays = {name: value[None] for name, value in arrays.items()}
        count = arrays[first.name].shape[:1]
        for site in program.sites:
            if arrays[site.name].shape != (*count, *site.shape):
                raise InputError(
                    f"site {site.name!r} has shape {arrays[site.name].shape}; expected "
                    f"{(*count, *site.shape)}"
                )
        with precision_of(self._target.dtype):
            z, jacobian = jax.jit(jax.vmap(self._target.unconstrain))(arrays)
        return np.asarray(z, float), np.asarray(jacobian, float), single
