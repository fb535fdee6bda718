"""Several Gaussians at once, for posteriors with separate modes."""

from typing import Any

import jax
import numpy as np
import scipy.special
from jaxtyping import Float, Int

from taut._core.modules import module
from taut._core.namespace import match_dtype, namespace
from taut.guides.full_rank import FullRankNormal
from taut.guides.guide import LatentGuide


@module()
class MixtureNormal(LatentGuide):
    """sum_k weights[k] N(loc[k], scale_tril[k] scale_tril[k]').

    Attributes:
        weights: shares of the components, positive, of sum one (components,).
        loc: their means (components, dim).
        scale_tril: lower Cholesky factors of their covariances (components, dim, dim).
    """

    weights: Float[Any, " components"]
    loc: Float[Any, "components dim"]
    scale_tril: Float[Any, "components dim dim"]
    name = "mixture"

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return self.loc.shape[-1]

    @property
    def noise_dim(self) -> int:
        """How many standard normal numbers make one draw: `dim`, and one for the component."""
        return self.dim + 1

    @property
    def components(self) -> tuple[FullRankNormal, ...]:
        """The Gaussians."""
        pairs = zip(self.loc, self.scale_tril, strict=True)
        return tuple(FullRankNormal(loc, scale_tril) for loc, scale_tril in pairs)

    def component(self, noise: Float[Any, "*draws noise_dim"]) -> Int[Any, "*draws"]:
        """Return which component each draw comes from."""
        xp = namespace(noise, self.weights)
        normal_cdf = scipy.special.ndtr if xp is np else jax.scipy.special.ndtr
        edges = xp.cumsum(self.weights)[:-1]
        return (normal_cdf(noise[..., -1])[..., None] > edges).sum(axis=-1)

    def transform(self, noise: Float[Any, "*draws noise_dim"]) -> Float[Any, "*draws dim"]:
        """Return draws; the last number of each row of noise chooses the component."""
        xp = namespace(noise, self.loc)
        chosen = self.component(noise)
        moved = xp.einsum("...ij,...j->...i", self.scale_tril[chosen], noise[..., :-1])
        return match_dtype(self.loc[chosen] + moved, noise)

    def log_prob(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
        """Return the normalised log density at latent vectors."""
        parts = self.log_parts(z)
        xp = namespace(parts)
        largest = parts.max(axis=-1)
        total = largest + xp.log(xp.exp(parts - largest[..., None]).sum(axis=-1))
        return match_dtype(total, z)

    def log_parts(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws components"]:
        """Return log(weights[k]) + log density of component k."""
        xp = namespace(z, self.loc)
        densities = [component.log_prob(z) for component in self.components]
        return xp.stack(densities, axis=-1) + xp.log(self.weights)

    def mean(self) -> Float[Any, " dim"]:
        """Return the mean of each latent coordinate."""
        return self.weights @ self.loc

    def sd(self) -> Float[Any, " dim"]:
        """Return the standard deviation of each latent coordinate."""
        xp = namespace(self.loc)
        variances = (self.scale_tril**2).sum(axis=-1) + (self.loc - self.mean()) ** 2
        return xp.sqrt(self.weights @ variances)

    def matched(self) -> FullRankNormal:
        """Return the Gaussian of the same mean and covariance."""
        apart = self.loc - self.mean()
        spreads = self.scale_tril @ self.scale_tril.swapaxes(-1, -2)
        spreads = spreads + apart[:, :, None] * apart[:, None, :]
        covariance = np.tensordot(self.weights, spreads, axes=1)
        return FullRankNormal(self.mean(), np.linalg.cholesky(covariance))
