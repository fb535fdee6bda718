"""`AutoLaplaceApproximation`: the Gaussian with the curvature of the density at its maximum."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.core import Tracer
from numpyro.distributions.transforms import LowerCholeskyAffine, Transform

from taut.infer.autoguide.gaussian import AutoGaussian, moments_of
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.autoguide.param import param

NOT_A_MAXIMUM = (
    "Hessian of log posterior at the fitted point is singular or not negative definite: {flat} of "
    "{dim} directions have no spread, and draws do not vary along them. Either the point is not a "
    "maximum yet (run more steps), or the data do not determine the latents (AutoNormal copes)"
)


class AutoLaplaceApproximation(AutoGaussian):
    """The Gaussian with the curvature of the log density at its maximum.

    While it is fitted it is a point in the latent space, `auto_loc` (dim,). Its posterior is the
    Gaussian around that point whose precision is minus the Hessian of the log density there.

    Args:
        model: a NumPyro model.
        hessian_fn: `hessian_fn(f, x)` returns the Hessian of f at x; `jax.hessian` by default.
        **options: what `AutoGuide` takes.
    """

    def __init__(self, model: Callable, *, hessian_fn: Callable | None = None, **options: Any):
        AutoGuide.__init__(self, model, **options)
        self.hessian_fn = hessian_fn

    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Draw from the Gaussian approximation."""
        latent = self.get_posterior(params, *args, **kwargs).sample(rng_key, tuple(sample_shape))
        return self._values(latent, params, args, kwargs)

    def get_posterior(self, params: dict, *args: Any, **kwargs: Any) -> dist.MultivariateNormal:
        """Return the Gaussian approximation of the latent vector's distribution.

        Args:
            params: the fitted parameters.
            *args: the model's arguments; those of the latest fit by default.
            **kwargs: the model's keyword arguments.
        """
        transform = self.get_transform(params, *args, **kwargs)
        assert isinstance(transform, LowerCholeskyAffine)
        # Directions without spread make the factor singular on purpose.
        return dist.MultivariateNormal(
            transform.loc, scale_tril=transform.scale_tril, validate_args=False
        )

    def get_transform(self, params: dict, *args: Any, **kwargs: Any) -> Transform:
        """Return the map from standard normal noise to the latent vector.

        Args:
            params: the fitted parameters.
            *args: the model's arguments; those of the latest fit by default.
            **kwargs: the model's keyword arguments.
        """
        loc = self._lookup(params, f"{self.prefix}_loc")
        bound = self._with_data(self._recall_for(jnp.size(loc), args, kwargs))
        given = self._model_params(bound.structure, params)
        empty = bound.without_data()

        def hessian(loc: Any, given: dict, leaves: Any) -> Any:
            filled = empty.with_data(leaves)

            def energy(z: Any) -> Any:
                return -filled.log_density(filled.structure.split(z), given)

            hessian_fn = self.hessian_fn or (lambda f, x: jax.hessian(f)(x))
            return hessian_fn(energy, loc)

        key = ("hessian", bound.arguments.key())
        precision = self._compile(key, hessian)(loc, given, bound.arguments.leaves)
        return LowerCholeskyAffine(loc, _scale_tril(precision))

    def _get_posterior(self) -> dist.Delta:
        loc = param(f"{self.prefix}_loc", self._init_latent)
        return dist.Delta(loc, event_dim=1)

    def _latent_moments(self, params: dict, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        return moments_of(self.get_posterior(params, *args, **kwargs))


def _scale_tril(precision: Any) -> Any:
    """Return a triangular factor (dim, dim) of the inverse of a precision matrix.

    Directions without positive curvature get no spread, with a warning; under a trace, where no
    warning can be given, they give NaN.
    """
    spectrum: Any = jnp.linalg.eigh(precision)
    values, vectors = spectrum[0], spectrum[1]
    if isinstance(values, Tracer):
        spreads = 1.0 / jnp.sqrt(values)
    else:
        # Smaller eigenvalues are rounding of zero.
        least = jnp.finfo(values.dtype).eps * values.shape[-1] * jnp.abs(values).max()
        curved = values > least
        if not curved.all():
            flat = int(jnp.sum(~curved))
            message = NOT_A_MAXIMUM.format(flat=flat, dim=values.shape[-1])
            warnings.warn(message, UserWarning, stacklevel=4)
        safe: Any = jnp.where(curved, values, 1.0)
        spreads = jnp.where(curved, 1.0 / jnp.sqrt(safe), 0.0)
    # With root = V diag(spreads), the covariance is root rootᵀ; QR of rootᵀ gives its factor.
    upper = jnp.linalg.qr((vectors * spreads).T, mode="r")
    signs = jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)
    return (upper * signs[:, None]).T
