"""The geometry of the low-rank Gaussian.

There is no cheap natural gradient here; the chart scales the mean and the factor by the independent
standard deviations, which is the Fisher metric where the factor is small, and L-BFGS does the rest.
"""

import numpy as np
from jaxtyping import Float

from taut.guides.low_rank import LowRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.noise import matched_noise, power_of_two
from taut.objectives.full_rank import ROOT_2
from taut.objectives.matched_elbo import Chart, Evaluation, Family


def default_rank(dim: int) -> int:
    """Number of shared directions for a dimension: 2 sqrt(dim), between 8 and 64."""
    return min(dim, 64, max(8, int(np.ceil(2.0 * np.sqrt(dim)))))


class LowRankFamily(Family):
    """Gaussians with a diagonal-plus-low-rank covariance."""

    name = "low-rank"

    def first_draws(self, dim: int) -> int:
        """Room for whitening the shared noise: at least 2 rank + 8."""
        return max(64, power_of_two(2 * default_rank(dim) + 8))

    def noise(
        self, draws: int, guide: LowRankNormal, rng: np.random.Generator
    ) -> Float[np.ndarray, "draws noise_dim"]:
        """Make shared noise of covariance one, and own noise without correlation to it."""
        shared = matched_noise(draws, guide.rank, rng)[: draws // 2]
        own = rng.standard_normal((draws // 2, guide.dim))
        if draws // 2 > 2 * guide.rank:
            own = own - shared @ (shared.T @ own) / len(shared)
        own = own / np.sqrt((own**2).mean(axis=0))
        half = np.concatenate([own, shared], axis=1)
        return np.concatenate([half, -half])

    def shrink(self, guide: LowRankNormal, factor: float) -> LowRankNormal:
        """Return the guide with all standard deviations times `factor`."""
        return LowRankNormal(guide.loc, guide.scale * factor, guide.factor * factor)

    def scatter(self, evaluation: Evaluation) -> float:
        """Trace of the covariance of the per-draw gradient in the chart's metric."""
        guide, noise = evaluation.guide, evaluation.noise
        own, shared = noise[:, : guide.dim], noise[:, guide.dim :]
        centred = own * guide.scale + shared @ guide.factor.T
        score = (evaluation.gradients + guide.precision_times(centred)) * guide.scale
        squares = (score**2).sum(axis=1)
        total = squares + 0.5 * (score**2 * own**2).sum(axis=1) + squares * (shared**2).sum(axis=1)
        mean, cross = score.mean(axis=0), (score * own).mean(axis=0)
        outer = score.T @ shared / len(noise)
        explained = mean @ mean + 0.5 * cross @ cross + (outer**2).sum()
        return max(float(total.mean() - explained), 0.0)

    def natural_step(self, evaluation: Evaluation) -> None:
        """None: the family has no cheap natural gradient."""
        return

    def chart(self, guide: LowRankNormal) -> "LowRankChart":
        """Return coordinates around a guide, scaled by its independent standard deviations."""
        return LowRankChart(guide)


class LowRankChart(Chart):
    """Coordinates (delta, sqrt 2 lambda, offset of factor / scale)."""

    def __init__(self, guide: LowRankNormal):
        self._origin = guide
        self.size = 2 * guide.dim + guide.factor.size

    def guide(self, point: Float[np.ndarray, " size"]) -> LowRankNormal:
        """Return the guide at a point; the origin is the guide the chart was made at."""
        old, dim = self._origin, self._origin.dim
        loc = old.loc + old.scale * point[:dim]
        offset = point[2 * dim :].reshape(old.factor.shape)
        return LowRankNormal(
            loc, old.scale * self._ratio(point), old.factor + old.scale[:, None] * offset
        )

    def gradient(
        self, point: Float[np.ndarray, " size"], evaluation: Evaluation
    ) -> Float[np.ndarray, " size"]:
        """Return the gradient of the loss at a point."""
        old, guide, dim = self._origin, evaluation.guide, self._origin.dim
        own, shared = evaluation.noise[:, :dim], evaluation.noise[:, dim:]
        gradients = evaluation.gradients
        inverse_factor = guide.precision_times(guide.factor.T).T
        diagonal = 1.0 / guide.scale**2 - _woodbury_diagonal(guide)
        scale = (gradients * own).mean(axis=0) + guide.scale * diagonal
        factor = gradients.T @ shared / len(own) + inverse_factor
        parts = [
            gradients.mean(axis=0) * old.scale,
            scale * guide.scale / ROOT_2,
            (factor * old.scale[:, None]).reshape(-1),
        ]
        return -np.concatenate(parts)

    def _ratio(self, point: np.ndarray) -> np.ndarray:
        dim = self._origin.dim
        return np.exp(np.clip(point[dim : 2 * dim] / ROOT_2, -30.0, 30.0))


def _woodbury_diagonal(guide: LowRankNormal) -> np.ndarray:
    scaled = guide.factor / guide.scale[:, None] ** 2
    return (scaled * np.linalg.solve(guide.capacitance(), scaled.T).T).sum(axis=1)


def widen(evaluation: Evaluation, rank: int) -> LowRankNormal:
    """Start a low-rank guide from a mean-field one: add the directions it is too narrow in.

    Args:
        evaluation: the mean-field objective at its optimum.
        rank: how many directions.
    """
    guide: MeanFieldNormal = evaluation.guide
    noise = evaluation.noise
    score = evaluation.gradients * guide.scale + noise
    # The cross moment has rank at most the number of draws: its eigenvectors lie in their span.
    basis, _ = np.linalg.qr(np.concatenate([score, noise]).T)
    small = (score @ basis).T @ (noise @ basis) / len(noise)
    change, axes = np.linalg.eigh(-0.5 * (small + small.T))
    precision = np.clip(1.0 + change[:rank], 0.05, 1.0)
    directions = (basis @ axes[:, :rank]) * np.sqrt(1.0 / precision - 1.0)
    # A column of zeros would stay zero: its gradient is zero too.
    directions = directions + 1e-3 * (basis @ axes[:, :rank])
    if directions.shape[1] < rank:
        missing = rank - directions.shape[1]
        directions = np.pad(directions, ((0, 0), (0, missing)), constant_values=1e-3)
    return LowRankNormal(guide.loc, guide.scale, guide.scale[:, None] * directions)
