"""The geometry of the full-rank Gaussian.

Notation: z_i = m + L e_i, h_i = L' grad log p(z_i), s_i = h_i + e_i the whitened score residual
(sticking the landing), A = mean s_i e_i' made symmetric, b = mean s_i. For a Gaussian posterior of
precision P the step of size one lands on it exactly, because A = I - L'PL and b = -L'P(m - mu).
"""

import numpy as np
from jaxtyping import Float

from taut.guides.full_rank import FullRankNormal
from taut.guides.noise import matched_noise, power_of_two
from taut.objectives.matched_elbo import Chart, Evaluation, Family, NaturalStep

ROOT_2 = np.sqrt(2.0)

# The mean moves at most this many standard deviations (root mean square) in one step.
TRUST_RADIUS = 3.0


class FullRankFamily(Family):
    """Full-rank Gaussians: natural gradient with eigenvalues of the whitened precision floored."""

    name = "full-rank"

    def first_draws(self, dim: int) -> int:
        """A power of two that leaves room for whitening: at least 2 dim + 8."""
        return max(32, power_of_two(2 * dim + 8))

    def noise(
        self, draws: int, guide: FullRankNormal, rng: np.random.Generator
    ) -> Float[np.ndarray, "draws dim"]:
        """Make antithetic noise of covariance one."""
        return matched_noise(draws, guide.dim, rng)

    def shrink(self, guide: FullRankNormal, factor: float) -> FullRankNormal:
        """Return the guide with all standard deviations times `factor`."""
        return FullRankNormal(guide.loc, guide.scale_tril * factor)

    def scatter(self, evaluation: Evaluation) -> float:
        """Trace of the covariance of the per-draw natural gradient in the Fisher metric."""
        noise = evaluation.noise
        score = evaluation.gradients @ evaluation.guide.scale_tril + noise
        squares, noise_squares = score**2, noise**2
        weights = 1.0 + np.cumsum(noise_squares, axis=1) - 0.5 * noise_squares
        total = (squares * weights).sum() / len(noise)
        mean, cross = score.mean(axis=0), score.T @ noise / len(noise)
        explained = mean @ mean + (np.tril(cross, -1) ** 2).sum()
        explained += 0.5 * (np.diagonal(cross) ** 2).sum()
        return max(float(total - explained), 0.0)

    def natural_step(self, evaluation: Evaluation) -> "FullRankStep":
        """Return the natural-gradient step."""
        return FullRankStep(evaluation)

    def chart(self, guide: FullRankNormal) -> "FullRankChart":
        """Return Fisher-orthonormal coordinates around a guide."""
        return FullRankChart(guide)


class FullRankStep(NaturalStep):
    """The natural gradient of a full-rank Gaussian, diagonalised."""

    def __init__(self, evaluation: Evaluation):
        guide, noise = evaluation.guide, evaluation.noise
        score = evaluation.gradients @ guide.scale_tril + noise
        cross = score.T @ noise / len(noise)
        self._guide = guide
        self._mean = score.mean(axis=0)
        self._cross = 0.5 * (cross + cross.T)
        self._change, self._axes = np.linalg.eigh(-self._cross)

    @property
    def norm(self) -> float:
        """Half the squared Fisher norm: |b|^2 / 2 + |A|^2 / 4."""
        return float(0.5 * self._mean @ self._mean + 0.25 * (self._change**2).sum())

    def product(self, other: "FullRankStep") -> tuple[float, float]:
        """Half the Fisher product with the step on other draws, of the means and of the rest.

        Noise of independent draws is uncorrelated: it estimates `norm` without noise's own share.
        """
        return (
            float(0.5 * self._mean @ other._mean),
            float(0.25 * (self._cross * other._cross).sum()),
        )

    def guide(self, size: float, floor: float, mean_size: float | None = None) -> FullRankNormal:
        """Return the guide after a step of `size` in (0, 1], or of another one for the mean."""
        axes, old = self._axes, self._guide
        precision = np.maximum(1.0 + size * self._change, floor)
        along = size if mean_size is None else mean_size
        move = axes @ (along * (axes.T @ self._mean) / precision)
        length = np.linalg.norm(move) / np.sqrt(len(move))
        if length > TRUST_RADIUS:
            move = move * (TRUST_RADIUS / length)
        root = (old.scale_tril @ axes) / np.sqrt(precision)
        upper = np.asarray(np.linalg.qr(root.T, mode="r"))
        upper = upper * np.sign(np.diagonal(upper))[:, None]
        return FullRankNormal(old.loc + old.scale_tril @ move, upper.T)


class FullRankChart(Chart):
    """Coordinates (delta, sqrt 2 log diag T, strict lower T): m = m0 + L0 delta, L = L0 T."""

    def __init__(self, guide: FullRankNormal):
        self._origin = guide
        dim = guide.dim
        self._lower = np.tril_indices(dim, -1)
        self.size = 2 * dim + len(self._lower[0])

    def guide(self, point: Float[np.ndarray, " size"]) -> FullRankNormal:
        """Return the guide at a point; the origin is the guide the chart was made at."""
        old, dim = self._origin, self._origin.dim
        factor = np.diag(self._diagonal(point))
        factor[self._lower] = point[2 * dim :]
        loc = old.loc + old.scale_tril @ point[:dim]
        return FullRankNormal(loc, old.scale_tril @ factor)

    def gradient(
        self, point: Float[np.ndarray, " size"], evaluation: Evaluation
    ) -> Float[np.ndarray, " size"]:
        """Return the gradient of the loss at a point."""
        white = evaluation.gradients @ self._origin.scale_tril
        cross = white.T @ evaluation.noise / evaluation.draws
        scales = (np.diagonal(cross) * self._diagonal(point) + 1.0) / ROOT_2
        return -np.concatenate([white.mean(axis=0), scales, cross[self._lower]])

    def _diagonal(self, point: np.ndarray) -> np.ndarray:
        dim = self._origin.dim
        return np.exp(np.clip(point[dim : 2 * dim] / ROOT_2, -30.0, 30.0))
