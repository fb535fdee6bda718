"""The curvature of the mean-field objective, and the covariance that linear response makes of it.

A mean-field Gaussian has no correlations and the sds of a posterior whose other coordinates are
held fixed. But its means are right to first order when the log density is tilted, log p + t'z, and
how they follow the tilt is the covariance: d m / d t = [H^-1]_mm, with H the Hessian of minus the
ELBO at its optimum in (m, log s). Giordano, Broderick and Jordan (2018), Covariances, robustness,
and variational Bayes, JMLR 19(51), equation 10; on fixed draws Giordano, Ingram and Broderick
(2024), JMLR 25(18), section 3. For a Gaussian posterior it is exact, whatever the draws.

Nothing is differentiated twice. Moving coordinate j of every draw by a little changes its gradient
by column j of its own Hessian, and all blocks of H are averages of these, times the noise.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from taut.guides.mean_field import MeanFieldNormal
from taut.objectives.matched_elbo import Batch

REFERENCE = "Giordano, Broderick and Jordan (2018), JMLR 19(51)"

# Draws that the curvature is averaged over, and gradients at each for one of its columns.
CURVATURE_DRAWS, DIFFERENCES = 16, 2

# Central differences in sds of the guide. Those of 0.1 are off by 0.2 % where posteriors are
# skewed; a longer step is needed where log densities are rounded, up to the last.
STEP, LONGEST_STEP = 0.1, 0.5

# Rows of one call of the batch function: the differences of a few coordinates.
ROWS = 1024


@dataclasses.dataclass(frozen=True)
class Curvature:
    """The Hessian of the loss of a mean-field Gaussian, in units of its sds.

    Attributes:
        guide: where it was taken, an optimum.
        means: between the means (dim, dim): minus the Hessian of log p, averaged.
        mixed: between means (rows) and log scales (columns) (dim, dim).
        scales: between the log scales (dim, dim).
    """

    guide: MeanFieldNormal
    means: Float[np.ndarray, "dim dim"]
    mixed: Float[np.ndarray, "dim dim"]
    scales: Float[np.ndarray, "dim dim"]

    def linear_response(self) -> Float[np.ndarray, "dim dim"] | None:
        """Return the covariance [H^-1]_mm; None if H is not positive definite."""
        if cholesky(self.scales) is None:
            return None
        follow = np.linalg.solve(self.scales, self.mixed.T)
        return self._covariance(self.means - self.mixed @ follow)

    def mean_precision(self) -> Float[np.ndarray, "dim dim"] | None:
        """Return the inverse of the averaged -Hessian; None if that is not positive definite.

        The best full-rank Gaussian has it, averaged over its own draws (Opper and Archambeau 2009).
        """
        return self._covariance(self.means)

    def _covariance(self, precision: np.ndarray) -> np.ndarray | None:
        root = cholesky(0.5 * (precision + precision.T))
        if root is None:
            return None
        inverse = np.linalg.inv(root) * self.guide.scale
        return inverse.T @ inverse


def cholesky(matrix: Float[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim dim"] | None:
    """Return the lower Cholesky factor; None if the matrix is not positive definite."""
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None


def curvature_cost(dim: int) -> int:
    """Return how many gradients `curvature` takes."""
    return DIFFERENCES * CURVATURE_DRAWS * dim


def curvature(
    batch: Batch,
    guide: MeanFieldNormal,
    noise: Float[np.ndarray, "draws dim"],
    rounding: float,
) -> Curvature | None:
    """Return the curvature at a fitted guide; None if a gradient is not finite.

    Args:
        batch: batched log density and gradient.
        guide: an optimum of the mean-field objective.
        noise: antithetic noise.
        rounding: error in nats of one log density.
    """
    draws, dim = noise.shape
    scale, z = guide.scale, guide.transform(noise)
    # The cube root balances the rounding of a central difference and what it leaves out.
    step = min(max(STEP, np.cbrt(rounding)), LONGEST_STEP)
    means, mixed, scales = (np.empty((dim, dim)) for _ in range(3))
    together = max(1, ROWS // (DIFFERENCES * draws))
    for first in range(0, dim, together):
        columns = np.arange(first, min(first + together, dim))
        moved = np.zeros((len(columns), 1, dim))
        moved[np.arange(len(columns)), 0, columns] = step * scale[columns]
        ends = np.stack([z + moved, z - moved])
        values, gradients = batch(ends.reshape(-1, dim))
        if not np.isfinite(values).all():
            return None
        up, down = gradients.reshape(ends.shape)
        slopes = (down - up) * (scale / (2.0 * step))
        by_noise = slopes * noise[:, columns].T[:, :, None]
        means[:, columns] = slopes.mean(axis=1).T
        mixed[:, columns] = by_noise.mean(axis=1).T
        scales[:, columns] = (by_noise * noise).mean(axis=1).T
    # At the optimum the slope of log p along the noise is minus one: the identity in `scales`.
    scales = 0.5 * (scales + scales.T) + np.eye(dim)
    return Curvature(guide, 0.5 * (means + means.T), mixed, scales)
