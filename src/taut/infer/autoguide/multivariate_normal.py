"""`AutoMultivariateNormal`: one Gaussian with a full covariance matrix."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.transforms import LowerCholeskyAffine, Transform

from taut.infer.autoguide.gaussian import AutoGaussian, moments_of
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.autoguide.options import check_init_scale
from taut.infer.autoguide.param import param


class AutoMultivariateNormal(AutoGaussian):
    """One Gaussian with a full covariance matrix.

    Its params are `auto_loc` (dim,) and `auto_scale_tril` (dim, dim), the Cholesky factor of the
    covariance of the latent vector. `covariance` gives it in the model's own coordinates.

    Args:
        model: a NumPyro model.
        init_scale: standard deviation of each latent coordinate to start from.
        **options: what `AutoGuide` takes.
    """

    scale_tril_constraint = constraints.scaled_unit_lower_cholesky

    def __init__(self, model: Callable, *, init_scale: float = 0.1, **options: Any):
        AutoGuide.__init__(self, model, **options)
        self.init_scale = check_init_scale(init_scale)

    def get_transform(self, params: dict, *args: Any, **kwargs: Any) -> Transform:
        """Return the map from standard normal noise to the latent vector."""
        posterior: Any = self.get_posterior(params)
        return LowerCholeskyAffine(posterior.loc, posterior.scale_tril)

    def _get_posterior(self) -> dist.MultivariateNormal:
        loc = param(f"{self.prefix}_loc", self._init_latent)
        scale_tril = param(
            f"{self.prefix}_scale_tril",
            jnp.identity(self._init_latent.size) * self.init_scale,
            constraint=self.scale_tril_constraint,
        )
        # The constraint makes it a Cholesky factor; a test of that would compile twenty programs.
        return dist.MultivariateNormal(loc, scale_tril=scale_tril, validate_args=False)

    def _latent_moments(self, params: dict, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        return moments_of(self.get_posterior(params))
