"""`AutoLowRankMultivariateNormal`: a Gaussian with a diagonal plus low-rank covariance."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.transforms import LowerCholeskyAffine, Transform

from taut.infer.autoguide.gaussian import AutoGaussian, moments_of
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.autoguide.options import check_init_scale, check_rank
from taut.infer.autoguide.param import param


class AutoLowRankMultivariateNormal(AutoGaussian):
    """A Gaussian with covariance D (I + F Fᵀ) D, D diagonal and F of few columns.

    Its params are `auto_loc` (dim,), `auto_cov_factor` (dim, rank), which is F, and `auto_scale`
    (dim,), the diagonal of D.

    Args:
        model: a NumPyro model.
        init_scale: standard deviation of each latent coordinate to start from.
        rank: columns of F; the square root of the dimension, rounded, by default.
        **options: what `AutoGuide` takes.
    """

    scale_constraint = constraints.softplus_positive

    def __init__(
        self, model: Callable, *, init_scale: float = 0.1, rank: int | None = None, **options: Any
    ):
        AutoGuide.__init__(self, model, **options)
        self.init_scale = check_init_scale(init_scale)
        self.rank = check_rank(rank)

    def get_transform(self, params: dict, *args: Any, **kwargs: Any) -> Transform:
        """Return the map from standard normal noise to the latent vector."""
        posterior: Any = self.get_posterior(params)
        return LowerCholeskyAffine(posterior.loc, posterior.scale_tril)

    def _get_posterior(self) -> dist.LowRankMultivariateNormal:
        dim = self._init_latent.size
        rank = round(dim**0.5) if self.rank is None else self.rank
        loc = param(f"{self.prefix}_loc", self._init_latent)
        factor = param(f"{self.prefix}_cov_factor", jnp.zeros((dim, rank)))
        scale = param(
            f"{self.prefix}_scale",
            jnp.full(dim, self.init_scale),
            constraint=self.scale_constraint,
        )
        return dist.LowRankMultivariateNormal(loc, factor * scale[:, None], scale**2)

    def _latent_moments(self, params: dict, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        return moments_of(self.get_posterior(params))
