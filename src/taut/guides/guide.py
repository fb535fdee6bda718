"""What every guide on R^dim can do."""

import abc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

LOG_2PI = math.log(2.0 * math.pi)


def standard_log_prob(noise: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
    """Return the log density of standard normal noise."""
    return -0.5 * (noise**2).sum(axis=-1) - 0.5 * noise.shape[-1] * LOG_2PI


class Guide(abc.ABC):
    """A normalised distribution on R^dim that can be drawn from."""

    name: str

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Number of latent coordinates."""

    @abc.abstractmethod
    def draw(
        self, count: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "count dim"], Float[np.ndarray, " count"]]:
        """Return draws and their log densities."""

    @abc.abstractmethod
    def log_prob(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
        """Return the normalised log density at latent vectors.

        Raises:
            InputError: the guide knows the densities of its own draws only.
        """

    @abc.abstractmethod
    def mean(self) -> Float[Any, " dim"]:
        """Return the mean of each latent coordinate."""

    @abc.abstractmethod
    def sd(self) -> Float[Any, " dim"]:
        """Return the standard deviation of each latent coordinate."""

    def scorer(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the map of latent vectors (n, dim) to units in which the guide is standard.

        Here they are centred by the means and divided by the standard deviations.
        """
        mean, sd = np.asarray(self.mean()), np.asarray(self.sd())
        return lambda z: (z - mean) / sd


class LatentGuide(Guide):
    """A distribution made from standard normal noise.

    The array leaves are the variational parameters. Methods take leading batch axes, run in NumPy
    on NumPy arrays and in JAX on JAX arrays, and return the floating type they were given.
    """

    @property
    @abc.abstractmethod
    def noise_dim(self) -> int:
        """How many standard normal numbers make one draw."""

    @abc.abstractmethod
    def transform(self, noise: Float[Any, "*draws noise_dim"]) -> Float[Any, "*draws dim"]:
        """Return draws made of standard normal noise."""

    def draw(
        self, count: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "count dim"], Float[np.ndarray, " count"]]:
        """Return draws and their log densities."""
        z = self.transform(rng.standard_normal((count, self.noise_dim)))
        return z, self.log_prob(z)


class GaussianGuide(LatentGuide):
    """A Gaussian on R^dim."""

    @abc.abstractmethod
    def entropy(self) -> Any:
        """Return the entropy in nats, a scalar."""
