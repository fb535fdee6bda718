"""`AutoDiagonalNormal`: independent Normals, one per latent coordinate."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.transforms import AffineTransform, IndependentTransform, Transform

from taut.infer.autoguide.gaussian import AutoGaussian, moments_of
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.autoguide.options import check_init_scale
from taut.infer.autoguide.param import param


class AutoDiagonalNormal(AutoGaussian):
    """Independent Normals, one per latent coordinate.

    Its params are `auto_loc` (dim,) and `auto_scale` (dim,).

    Args:
        model: a NumPyro model.
        init_scale: standard deviation of each latent coordinate to start from.
        **options: what `AutoGuide` takes.
    """

    scale_constraint = constraints.softplus_positive

    def __init__(self, model: Callable, *, init_scale: float = 0.1, **options: Any):
        AutoGuide.__init__(self, model, **options)
        self.init_scale = check_init_scale(init_scale)

    def get_transform(self, params: dict, *args: Any, **kwargs: Any) -> Transform:
        """Return the map from standard normal noise to the latent vector."""
        posterior: Any = self.get_posterior(params)
        return IndependentTransform(AffineTransform(posterior.loc, posterior.scale), 1)

    def _get_posterior(self) -> dist.Normal:
        loc = param(f"{self.prefix}_loc", self._init_latent)
        scale = param(
            f"{self.prefix}_scale",
            jnp.full(self._init_latent.size, self.init_scale),
            constraint=self.scale_constraint,
        )
        return dist.Normal(loc, scale)

    def _latent_moments(self, params: dict, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        return moments_of(self.get_posterior(params))
