"""`AutoNormal`: an independent Normal for each number of each site, before it is constrained."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import random
from jax.scipy.special import ndtri
from numpyro.distributions import constraints

from taut.infer.autoguide.options import check_init_scale
from taut.infer.autoguide.param import param
from taut.infer.autoguide.sites import AutoSites
from taut.infer.autoguide.start import Start
from taut.infer.autoguide.structure import Latent
from taut.targets.bijection import latent_bijection
from taut.targets.site_log_prob import is_real


class AutoNormal(AutoSites):
    """An independent Normal for each number of each site, in unconstrained coordinates.

    Each site is sampled under its own name, so closed-form entropies can be used, and sites in
    subsampled plates have params for the whole plate. The params are `x_auto_loc` and
    `x_auto_scale` for a site x, in the shape of its unconstrained image.

    Args:
        model: a NumPyro model.
        init_scale: standard deviation to start from, in unconstrained coordinates.
        **options: what `AutoGuide` takes.
    """

    scale_constraint = constraints.softplus_positive

    def __init__(self, model: Callable, *, init_scale: float = 0.1, **options: Any):
        super().__init__(model, **options)
        self.init_scale = check_init_scale(init_scale)

    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Draw from the guide; sites in subsampled plates for the whole plate."""
        bound = self._recall_fitted(params, args, kwargs)
        parts = {}
        for latent in bound.structure.latents:
            loc, scale = self._moments(latent, params)
            shape = (*sample_shape, *jnp.shape(loc))
            rng_key, key = random.split(rng_key)
            noise = random.normal(key, shape, jnp.result_type(loc))
            parts[latent.name] = loc + scale * noise
        return self._constrain(bound, parts, tuple(sample_shape), params, whole=True)

    def median(self, params: dict, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return each site's value at the means of its latent coordinates."""
        return {n: v[0] for n, v in self.quantiles(params, 0.5, *args, **kwargs).items()}

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
            For each site an array of shape (*quantiles shape, *site shape); of one number the
            shape is (1,), as in NumPyro.
        """
        bound = self._recall_fitted(params, args, kwargs)
        levels = ndtri(jnp.atleast_1d(jnp.asarray(quantiles)))
        parts = {}
        for latent in bound.structure.latents:
            loc, scale = self._moments(latent, params)
            parts[latent.name] = loc + scale * levels.reshape(levels.shape + (1,) * jnp.ndim(loc))
        return self._constrain(bound, parts, levels.shape, params, whole=True)

    def covariance(self, params: dict, *names: str) -> Any:
        """Return the covariance of sites under the guide, in the model's own coordinates."""
        structure = self._recall((), {}).structure
        latents = {latent.name: latent for latent in structure.latents}
        names = names or tuple(latents)
        self._check_names(names, (*latents, *structure.deterministics))
        if not all(n in latents and is_real(latents[n].support) for n in names):
            return super().covariance(params, *names)
        scales = [jnp.ravel(self._moments(latents[n], params)[1]) for n in names]
        return jnp.diag(jnp.concatenate(scales) ** 2)

    def _sample(self, latent: Latent, support: Any, start: Start) -> Any:
        loc = param(
            self._loc_name(latent),
            start.of_site(latent),
            event_dim=latent.latent_event_dim,
        )
        scale = param(
            f"{latent.name}_{self.prefix}_scale",
            jnp.full(latent.full_latent_shape, self.init_scale),
            constraint=self.scale_constraint,
            event_dim=latent.latent_event_dim,
        )
        base = dist.Normal(loc, scale).to_event(latent.latent_event_dim)
        if is_real(support):
            return numpyro.sample(latent.name, base)
        transform = latent_bijection(support)
        return numpyro.sample(latent.name, dist.TransformedDistribution(base, transform))

    def _moments(self, latent: Latent, params: Mapping[str, Any]) -> tuple[Any, Any]:
        scale = self._lookup(params, f"{latent.name}_{self.prefix}_scale")
        return self._lookup(params, self._loc_name(latent)), scale
