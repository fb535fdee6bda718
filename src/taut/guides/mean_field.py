"""The Gaussian with independent coordinates."""

from typing import Any

from jaxtyping import Float

from taut._core.modules import module
from taut._core.namespace import match_dtype, namespace
from taut.guides.guide import LOG_2PI, GaussianGuide


@module()
class MeanFieldNormal(GaussianGuide):
    """N(loc, diag(scale^2)): no correlations, memory linear in the dimension.

    Attributes:
        loc: the mean (dim,).
        scale: standard deviations (dim,), positive.
    """

    loc: Float[Any, " dim"]
    scale: Float[Any, " dim"]
    name = "mean-field"

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return self.loc.shape[-1]

    @property
    def noise_dim(self) -> int:
        """How many standard normal numbers make one draw: `dim`."""
        return self.dim

    def transform(self, noise: Float[Any, "*draws dim"]) -> Float[Any, "*draws dim"]:
        """Return loc + scale * noise."""
        return match_dtype(self.loc + noise * self.scale, noise)

    def log_prob(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
        """Return the normalised log density at latent vectors."""
        xp = namespace(z, self.loc)
        white = (z - self.loc) / self.scale
        log_det = xp.log(self.scale).sum()
        return match_dtype(-0.5 * (white**2).sum(axis=-1) - log_det - 0.5 * self.dim * LOG_2PI, z)

    def entropy(self) -> Any:
        """Return dim (1 + log 2 pi) / 2 + sum log scale."""
        return namespace(self.scale).log(self.scale).sum() + 0.5 * self.dim * (1.0 + LOG_2PI)

    def mean(self) -> Float[Any, " dim"]:
        """Return the mean of each latent coordinate."""
        return self.loc

    def sd(self) -> Float[Any, " dim"]:
        """Return the standard deviation of each latent coordinate."""
        return self.scale
