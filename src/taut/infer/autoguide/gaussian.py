"""What the Gaussian guides on the latent vector share: medians, quantiles, covariances."""

import abc
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import ndtri

from taut.infer.autoguide.continuous import AutoContinuous
from taut.targets.site_log_prob import is_real


class AutoGaussian(AutoContinuous):
    """A guide whose latent vector is Gaussian; `AutoGuide` lists what it takes."""

    def _dim(self, params: dict) -> int:
        name = f"{self.prefix}_loc"
        return jnp.size(params[name]) if name in params else super()._dim(params)

    @abc.abstractmethod
    def _latent_moments(self, params: dict, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        """Return mean (dim,) and covariance (dim, dim) of the latent vector."""

    def median(self, params: dict, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return each site's value at the mean of the latent vector."""
        return self.quantiles(params, 0.5, *args, **kwargs)

    def quantiles(self, params: dict, quantiles: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return each site's value at quantiles of its latent coordinates.

        They are the quantiles of the site wherever its map from the latent coordinates goes number
        by number and increases.

        Args:
            params: the fitted parameters.
            quantiles: one number between 0 and 1, or an array of them.
            *args: the model's arguments; those of the latest fit by default.
            **kwargs: the model's keyword arguments.

        Returns:
            For each site an array of shape (*quantiles shape, *site shape).
        """
        loc, covariance = self._latent_moments(params, args, kwargs)
        spread = ndtri(jnp.asarray(quantiles))[..., None] * jnp.sqrt(jnp.diagonal(covariance))
        return self._values(loc + spread, params, args, kwargs)

    def covariance(self, params: dict, *names: str) -> Any:
        """Return the covariance of sites under the guide, in the model's own coordinates."""
        loc, covariance = self._latent_moments(params, (), {})
        structure = self._recall_for(jnp.size(loc), (), {}).structure
        latents = {latent.name: latent for latent in structure.latents}
        names = names or tuple(latents)
        self._check_names(names, (*latents, *structure.deterministics))
        if not all(n in latents and is_real(latents[n].support) for n in names):
            return super().covariance(params, *names)
        rows = [jnp.arange(latents[n].offset, latents[n].offset + latents[n].size) for n in names]
        chosen = jnp.concatenate(rows)
        return covariance[jnp.ix_(chosen, chosen)]


def moments_of(posterior: dist.Distribution) -> tuple[Any, Any]:
    """Return mean (dim,) and covariance (dim, dim) of a Gaussian distribution of NumPyro's."""
    if isinstance(posterior, (dist.MultivariateNormal, dist.LowRankMultivariateNormal)):
        return posterior.mean, posterior.covariance_matrix
    return posterior.mean, jnp.diag(posterior.variance)
