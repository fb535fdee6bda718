"""The Gaussian with any covariance."""

from typing import Any

from jaxtyping import Float

from taut._core.modules import module
from taut._core.namespace import match_dtype, namespace, solve_lower
from taut.guides.guide import LOG_2PI, GaussianGuide


@module()
class FullRankNormal(GaussianGuide):
    """N(loc, scale_tril scale_tril'), every correlation free.

    Attributes:
        loc: the mean (dim,).
        scale_tril: lower Cholesky factor of the covariance (dim, dim), its diagonal positive.
    """

    loc: Float[Any, " dim"]
    scale_tril: Float[Any, "dim dim"]
    name = "full-rank"

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return self.loc.shape[-1]

    @property
    def noise_dim(self) -> int:
        """How many standard normal numbers make one draw: `dim`."""
        return self.dim

    def transform(self, noise: Float[Any, "*draws dim"]) -> Float[Any, "*draws dim"]:
        """Return loc + scale_tril noise."""
        return match_dtype(self.loc + noise @ self.scale_tril.T, noise)

    def log_prob(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
        """Return the normalised log density at latent vectors."""
        xp = namespace(z, self.loc)
        centred = (z - self.loc).reshape(-1, self.dim)
        white = solve_lower(self.scale_tril, centred.T)
        squares = (white**2).sum(axis=0).reshape(z.shape[:-1])
        log_det = xp.log(xp.diagonal(self.scale_tril)).sum()
        return match_dtype(-0.5 * squares - log_det - 0.5 * self.dim * LOG_2PI, z)

    def entropy(self) -> Any:
        """Return dim (1 + log 2 pi) / 2 + log det scale_tril."""
        xp = namespace(self.scale_tril)
        return xp.log(xp.diagonal(self.scale_tril)).sum() + 0.5 * self.dim * (1.0 + LOG_2PI)

    def mean(self) -> Float[Any, " dim"]:
        """Return the mean of each latent coordinate."""
        return self.loc

    def sd(self) -> Float[Any, " dim"]:
        """Return the standard deviation of each latent coordinate."""
        return namespace(self.scale_tril).sqrt((self.scale_tril**2).sum(axis=1))
