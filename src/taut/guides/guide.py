"""What every guide on R^dim can do."""

import abc
import math
from typing import Any

from jaxtyping import Float

LOG_2PI = math.log(2.0 * math.pi)


class LatentGuide(abc.ABC):
    """A normalised distribution on R^dim made from standard normal noise.

    The array leaves are the variational parameters. Methods take leading batch axes, run in NumPy
    on NumPy arrays and in JAX on JAX arrays, and return the floating type they were given.
    """

    name: str

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Number of latent coordinates."""

    @property
    @abc.abstractmethod
    def noise_dim(self) -> int:
        """How many standard normal numbers make one draw."""

    @abc.abstractmethod
    def transform(self, noise: Float[Any, "*draws noise_dim"]) -> Float[Any, "*draws dim"]:
        """Return draws made of standard normal noise."""

    @abc.abstractmethod
    def log_prob(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
        """Return the normalised log density at latent vectors."""

    @abc.abstractmethod
    def mean(self) -> Float[Any, " dim"]:
        """Return the mean of each latent coordinate."""

    @abc.abstractmethod
    def sd(self) -> Float[Any, " dim"]:
        """Return the standard deviation of each latent coordinate."""


class GaussianGuide(LatentGuide):
    """A Gaussian on R^dim."""

    @abc.abstractmethod
    def entropy(self) -> Any:
        """Return the entropy in nats, a scalar."""
