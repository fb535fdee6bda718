"""The ELBO of a Gaussian guide on fixed, moment-matched noise.

`loss = -(mean log p(z_i) + entropy)`, z_i made of the noise by the guide. A `Family` knows the
geometry of one kind of Gaussian: its noise, the natural-gradient step, a chart in which the Fisher
information is the identity, and the scatter of the per-draw natural gradient. The scatter divided
by twice the number of draws is the ELBO that is expected to be lost by using so few: it decides how
many draws are needed and when to stop.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from taut.guides.guide import GaussianGuide

# Draws of a part: a few calls of a batch for a small model, one where a batch has more rows.
PART = 512

Results = tuple[np.ndarray, np.ndarray]
Batch = Callable[[np.ndarray], Results]


def begin(batch: Batch, z: np.ndarray) -> Callable[[], Results]:
    """Begin to evaluate a batch, where it can; call what is returned for the result."""
    start = getattr(batch, "begin", None)
    return functools.partial(batch, z) if start is None else start(z)


def rows_of(batch: Batch) -> int:
    """Return how many rows a batch evaluates at once, 1 where that is not known."""
    return getattr(batch, "rows", 1)


def parts_of(batch: Batch, count: int) -> list[slice]:
    """Split so many draws into parts, of which one can be evaluated while the next is made."""
    rows = max(PART, rows_of(batch))
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The objective at one guide.

    Attributes:
        guide: where.
        noise: the fixed noise (draws, noise_dim).
        loss: minus the ELBO on this noise; infinite if any draw has no finite density.
        values: log densities (draws,).
        gradients: their gradients with respect to the latent vector (draws, dim).
    """

    guide: Any
    noise: Float[np.ndarray, "draws noise_dim"]
    loss: float
    values: Float[np.ndarray, " draws"]
    gradients: Float[np.ndarray, "draws dim"]

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(self.noise)


def evaluate(batch: Batch, guide: GaussianGuide, noise: np.ndarray) -> Evaluation:
    """Evaluate the objective at a guide with `batch`, a batched log density and gradient."""
    values, gradients = batch(guide.transform(noise))
    mean = values.mean()
    loss = -(mean + float(guide.entropy())) if np.isfinite(mean) else np.inf
    return Evaluation(guide, noise, loss, values, gradients)


class NaturalStep(abc.ABC):
    """The natural gradient at one evaluation, ready to be tried at several step sizes."""

    @abc.abstractmethod
    def guide(self, size: float, floor: float) -> Any:
        """Return the guide after a step of `size` in (0, 1].

        No precision shrinks below `floor` times what it was.
        """

    @property
    @abc.abstractmethod
    def norm(self) -> float:
        """Half the squared Fisher norm of the natural gradient: the gap to second order, nats."""


class Chart(abc.ABC):
    """Coordinates around a guide in which the Fisher information is the identity."""

    size: int

    @abc.abstractmethod
    def guide(self, point: Float[np.ndarray, " size"]) -> Any:
        """Return the guide at a point; the origin is the guide the chart was made at."""

    @abc.abstractmethod
    def gradient(
        self, point: Float[np.ndarray, " size"], evaluation: Evaluation
    ) -> Float[np.ndarray, " size"]:
        """Return the gradient of the loss at a point."""


class Family(abc.ABC):
    """The geometry of one kind of Gaussian guide."""

    name: str

    @abc.abstractmethod
    def first_draws(self, dim: int) -> int:
        """How many draws to start with."""

    @abc.abstractmethod
    def noise(self, draws: int, guide: Any, rng: np.random.Generator) -> np.ndarray:
        """Make moment-matched noise for a guide."""

    @abc.abstractmethod
    def shrink(self, guide: Any, factor: float) -> Any:
        """Return the guide with all standard deviations times `factor`."""

    @abc.abstractmethod
    def scatter(self, evaluation: Evaluation) -> float:
        """Trace of the covariance of the per-draw natural gradient in the Fisher metric."""

    @abc.abstractmethod
    def natural_step(self, evaluation: Evaluation) -> NaturalStep | None:
        """Return the natural-gradient step, or None where the family has none."""

    @abc.abstractmethod
    def chart(self, guide: Any) -> Chart:
        """Return Fisher-orthonormal coordinates around a guide."""
