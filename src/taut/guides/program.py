"""A guide that is a user's program, fitted: its parameters, and functions that run it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from taut._core.errors import InputError
from taut.guides.guide import Guide

NEEDS_PROGRAM = (
    "new draws and densities of a guide that is a function need the function, which is not kept in "
    "a file; fit.sample(n) gives the stored draws, and fit.guide.params the fitted parameters"
)
OWN_DRAWS_ONLY = (
    "this guide computes its sites from others, or was given up to a constant, so its density is "
    "known at its own draws only: fit.draws() gives both"
)


@dataclasses.dataclass(frozen=True, eq=False)
class ProgramGuide(Guide):
    """A fitted guide function.

    Attributes:
        params: the values of its `numpyro.param` statements, by name.
        loc: the mean of its draws, in the latent space (dim,).
        scale: their standard deviations (dim,).
        sampler: from a seed and a count, draws and their log densities; None if read from a file.
        density: log densities of latent vectors (n, dim); None if not known, or read from a file.
    """

    params: Mapping[str, Any]
    loc: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    sampler: Callable[[int, int], tuple[np.ndarray, np.ndarray]] | None = None
    density: Callable[[np.ndarray], np.ndarray] | None = None
    name = "program"

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return len(self.loc)

    def draw(
        self, count: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "count dim"], Float[np.ndarray, " count"]]:
        """Return draws and their log densities.

        Raises:
            InputError: the guide was read from a file.
        """
        if self.sampler is None:
            raise InputError(NEEDS_PROGRAM)
        return self.sampler(int(rng.integers(2**31)), count)

    def log_prob(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
        """Return the log density at latent vectors.

        Raises:
            InputError: it is known at the guide's own draws only, or the guide was read from a
                file.
        """
        if self.density is None:
            raise InputError(NEEDS_PROGRAM if self.sampler is None else OWN_DRAWS_ONLY)
        return self.density(z)

    def mean(self) -> Float[np.ndarray, " dim"]:
        """Return the mean of each latent coordinate, from draws."""
        return self.loc

    def sd(self) -> Float[np.ndarray, " dim"]:
        """Return the standard deviation of each latent coordinate, from draws."""
        return self.scale
