"""The Gaussian whose covariance is a diagonal plus a few directions."""

from typing import Any

from jaxtyping import Float

from taut._core.modules import module
from taut._core.namespace import match_dtype, namespace
from taut.guides.guide import LOG_2PI, GaussianGuide


@module()
class LowRankNormal(GaussianGuide):
    """N(loc, diag(scale^2) + factor factor'), for dimensions too large for every correlation.

    A draw is loc + scale * e + factor xi from noise (e, xi). Densities use Woodbury's identity on
    the small matrix I + factor' diag(scale^-2) factor.

    Attributes:
        loc: the mean (dim,).
        scale: standard deviations of the independent part (dim,), positive.
        factor: the directions of shared variation (dim, rank).
    """

    loc: Float[Any, " dim"]
    scale: Float[Any, " dim"]
    factor: Float[Any, "dim rank"]
    name = "low-rank"

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return self.loc.shape[-1]

    @property
    def rank(self) -> int:
        """Number of shared directions."""
        return self.factor.shape[-1]

    @property
    def noise_dim(self) -> int:
        """How many standard normal numbers make one draw: `dim + rank`."""
        return self.dim + self.rank

    def transform(self, noise: Float[Any, "*draws noise_dim"]) -> Float[Any, "*draws dim"]:
        """Return loc + scale * e + factor xi."""
        own, shared = noise[..., : self.dim], noise[..., self.dim :]
        return match_dtype(self.loc + own * self.scale + shared @ self.factor.T, noise)

    def log_prob(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
        """Return the normalised log density at latent vectors."""
        centred = z - self.loc
        squares = (centred * self.precision_times(centred)).sum(axis=-1)
        return match_dtype(-0.5 * (squares + self.log_det() + self.dim * LOG_2PI), z)

    def entropy(self) -> Any:
        """Return dim (1 + log 2 pi) / 2 + log det covariance / 2."""
        return 0.5 * (self.log_det() + self.dim * (1.0 + LOG_2PI))

    def mean(self) -> Float[Any, " dim"]:
        """Return the mean of each latent coordinate."""
        return self.loc

    def sd(self) -> Float[Any, " dim"]:
        """Return the standard deviation of each latent coordinate."""
        return namespace(self.scale).sqrt(self.scale**2 + (self.factor**2).sum(axis=1))

    def capacitance(self) -> Float[Any, "rank rank"]:
        """Return I + factor' diag(scale^-2) factor, the matrix of Woodbury's identity."""
        white = self.factor / self.scale[:, None]
        return white.T @ white + namespace(white).eye(self.rank, dtype=white.dtype)

    def log_det(self) -> Any:
        """Return the log determinant of the covariance."""
        xp = namespace(self.scale)
        _, value = xp.linalg.slogdet(self.capacitance())
        return value + 2.0 * xp.log(self.scale).sum()

    def precision_times(self, vectors: Float[Any, "*n dim"]) -> Float[Any, "*n dim"]:
        """Return the inverse covariance times each vector."""
        xp = namespace(self.scale, vectors)
        scaled = vectors / self.scale**2
        inner = (scaled @ self.factor).reshape(-1, self.rank)
        inner = xp.linalg.solve(self.capacitance(), inner.T).T
        return scaled - (inner @ self.factor.T).reshape(vectors.shape) / self.scale**2
