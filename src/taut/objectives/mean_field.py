"""The geometry of the mean-field Gaussian: vectors where the full rank has matrices."""

import numpy as np
from jaxtyping import Float

from taut.guides.mean_field import MeanFieldNormal
from taut.guides.noise import matched_noise, power_of_two
from taut.objectives.full_rank import ROOT_2, TRUST_RADIUS
from taut.objectives.matched_elbo import Chart, Evaluation, Family, NaturalStep

MOST_FIRST_DRAWS = 256


class MeanFieldFamily(Family):
    """Gaussians with independent coordinates, on noise that is whitened where draws suffice."""

    name = "mean-field"

    def first_draws(self, dim: int) -> int:
        """As for full rank up to 256, so that any Gaussian posterior is exact; above, 32 draws.

        Correlations of the noise across coordinates look like correlations of the posterior.
        """
        whitening = power_of_two(2 * dim + 8)
        return max(32, whitening) if whitening <= MOST_FIRST_DRAWS else 32

    def noise(
        self, draws: int, guide: MeanFieldNormal, rng: np.random.Generator
    ) -> Float[np.ndarray, "draws dim"]:
        """Make antithetic noise of covariance one, or of variance one where draws are few."""
        return matched_noise(draws, guide.dim, rng)

    def shrink(self, guide: MeanFieldNormal, factor: float) -> MeanFieldNormal:
        """Return the guide with all standard deviations times `factor`."""
        return MeanFieldNormal(guide.loc, guide.scale * factor)

    def scatter(self, evaluation: Evaluation) -> float:
        """Trace of the covariance of the per-draw natural gradient in the Fisher metric."""
        noise = evaluation.noise
        score = evaluation.gradients * evaluation.guide.scale + noise
        total = (score**2 * (1.0 + 0.5 * noise**2)).sum() / len(noise)
        mean, cross = score.mean(axis=0), (score * noise).mean(axis=0)
        return max(float(total - mean @ mean - 0.5 * cross @ cross), 0.0)

    def natural_step(self, evaluation: Evaluation) -> "MeanFieldStep":
        """Return the natural-gradient step."""
        return MeanFieldStep(evaluation)

    def chart(self, guide: MeanFieldNormal) -> "MeanFieldChart":
        """Return Fisher-orthonormal coordinates around a guide."""
        return MeanFieldChart(guide)


class MeanFieldStep(NaturalStep):
    """The natural gradient of a mean-field Gaussian."""

    def __init__(self, evaluation: Evaluation):
        guide, noise = evaluation.guide, evaluation.noise
        score = evaluation.gradients * guide.scale + noise
        self._guide = guide
        self._mean = score.mean(axis=0)
        self._change = -(score * noise).mean(axis=0)

    @property
    def norm(self) -> float:
        """Half the squared Fisher norm: |b|^2 / 2 + |diag A|^2 / 4."""
        return float(0.5 * self._mean @ self._mean + 0.25 * (self._change**2).sum())

    def guide(self, size: float, floor: float) -> MeanFieldNormal:
        """Return the guide after a step of `size` in (0, 1]."""
        precision = np.maximum(1.0 + size * self._change, floor)
        move = size * self._mean / precision
        length = np.linalg.norm(move) / np.sqrt(len(move))
        if length > TRUST_RADIUS:
            move = move * (TRUST_RADIUS / length)
        scale = self._guide.scale
        return MeanFieldNormal(self._guide.loc + scale * move, scale / np.sqrt(precision))


class MeanFieldChart(Chart):
    """Coordinates (delta, sqrt 2 lambda): m = m0 + s0 delta, s = s0 exp(lambda)."""

    def __init__(self, guide: MeanFieldNormal):
        self._origin = guide
        self.size = 2 * guide.dim

    def guide(self, point: Float[np.ndarray, " size"]) -> MeanFieldNormal:
        """Return the guide at a point; the origin is the guide the chart was made at."""
        old = self._origin
        loc = old.loc + old.scale * point[: old.dim]
        return MeanFieldNormal(loc, old.scale * self._ratio(point))

    def gradient(
        self, point: Float[np.ndarray, " size"], evaluation: Evaluation
    ) -> Float[np.ndarray, " size"]:
        """Return the gradient of the loss at a point."""
        white = evaluation.gradients * self._origin.scale
        cross = (white * evaluation.noise).mean(axis=0)
        scales = (cross * self._ratio(point) + 1.0) / ROOT_2
        return -np.concatenate([white.mean(axis=0), scales])

    def _ratio(self, point: np.ndarray) -> np.ndarray:
        return np.exp(np.clip(point[self._origin.dim :] / ROOT_2, -30.0, 30.0))
