"""`AutoDAIS`: differentiable annealed importance sampling from a Gaussian towards the posterior."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import lax, random
from numpyro import handlers
from numpyro.distributions import constraints

from taut._core.errors import InputError, UnsupportedError
from taut.infer.autoguide.annealing import AnnealingOptions, anneal, declare_dynamics
from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.guide import CHUNK, AutoGuide
from taut.infer.autoguide.latent_vector import AutoLatentVector
from taut.infer.autoguide.options import check_init_scale
from taut.infer.autoguide.param import model_params, param

BASES = ("diagonal", "cholesky")

SUBSAMPLED = (
    "AutoDAIS cannot be used with data subsampling, as it follows the gradient of the whole log "
    "density, and plate {name!r} is subsampled; use AutoSemiDAIS, or give it no subsample_size"
)

_NO_DENSITY = (
    "AutoDAIS is a sampler, annealed from a Gaussian: it has neither a posterior density nor a "
    "transform of its latent vector; draw from it with sample_posterior"
)


class AutoDAIS(AutoLatentVector):
    """A Gaussian carried towards the posterior by K steps of uncorrected Hamiltonian dynamics.

    Its params are `auto_z_0_loc`, `auto_z_0_scale` (or `auto_z_0_scale_tril`), `auto_eta0`,
    `auto_eta_coeff`, `auto_gamma`, `auto_beta_increments` and `auto_mass_matrix`.

    Args:
        model: a NumPyro model.
        K: number of steps.
        base_dist: "diagonal" or "cholesky", the covariance of the Gaussian.
        eta_init: step size to start from.
        eta_max: the largest step size.
        gamma_init: share of the momentum that a step keeps, to start from.
        init_scale: standard deviation of the Gaussian to start from.
        **options: what `AutoGuide` takes.

    Source: Geffner, Domke, "MCMC Variational Inference via Uncorrected Hamiltonian Annealing",
    2021.
    """

    needs_data = True

    def __init__(
        self,
        model: Callable,
        *,
        K: int = 4,
        base_dist: str = "diagonal",
        eta_init: float = 0.01,
        eta_max: float = 0.1,
        gamma_init: float = 0.9,
        init_scale: float = 0.1,
        **options: Any,
    ):
        AutoGuide.__init__(self, model, **options)
        self.annealing = AnnealingOptions(K, eta_init, eta_max, gamma_init)
        if base_dist not in BASES:
            raise InputError(f"base_dist must be one of {', '.join(BASES)}; got {base_dist!r}")
        self.base_dist = base_dist
        self.init_scale = check_init_scale(init_scale)

    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Draw from the guide."""
        bound = self._recall_for(self._dim(params), args, kwargs)
        followed = self._with_data(bound)
        empty = followed.without_data()

        def run(keys: Any, params: dict, leaves: Any) -> Any:
            filled = empty.with_data(leaves)

            def draw(key: Any) -> Any:
                given = handlers.substitute(self._sample_latent, substitute_fn=self._given(params))
                with handlers.block():
                    return handlers.seed(given, key)(filled)

            return lax.map(draw, keys, batch_size=CHUNK)

        # One draw takes the key as it is, as NumPyro's does.
        count = int(np.prod(sample_shape, dtype=int))
        keys = random.split(rng_key, count) if sample_shape else rng_key[None]
        run = self._compile(("draws", followed.arguments.key()), run)
        latent = run(keys, params, followed.arguments.leaves)
        parts = bound.structure.split(latent.reshape(*sample_shape, -1))
        return self._constrain(bound, parts, tuple(sample_shape), params)

    def get_posterior(self, params: dict, *args: Any, **kwargs: Any) -> dist.Distribution:
        """Raise an error: it draws, and has no density.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(_NO_DENSITY)

    def get_transform(self, params: dict, *args: Any, **kwargs: Any) -> Any:
        """Raise an error: its draws are no function of so many normal numbers.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(_NO_DENSITY)

    def _read(self, args: tuple, kwargs: dict) -> BoundModel:
        bound = super()._read(args, kwargs)
        if bound.structure.subsampled:
            raise UnsupportedError(
                [SUBSAMPLED.format(name=name) for name in bound.structure.subsampled]
            )
        return bound

    def _dim(self, params: dict) -> int:
        return jnp.size(self._lookup(params, f"{self.prefix}_z_0_loc"))

    def _sample_latent(self, bound: BoundModel) -> Any:
        bound = self._with_data(bound)
        structure, prefix = bound.structure, self.prefix
        given = model_params(bound)
        dynamics = declare_dynamics(prefix, self.annealing, structure.dim)
        base = self._base(structure.dim, self._start(bound).vector)
        z = numpyro.sample(f"{prefix}_z_0", base, infer={"is_auxiliary": True})
        momentum = dist.Normal(0.0, dynamics.mass).expand((self.annealing.steps, structure.dim))
        # Masked: the log factor holds what the momenta contribute.
        momenta = numpyro.sample(
            f"{prefix}_momentum", momentum.to_event(2).mask(False), infer={"is_auxiliary": True}
        )
        target_slope = jax.grad(lambda z: bound.log_density(structure.split(z), given))
        z, log_factor = anneal(dynamics, z, momenta, jax.grad(base.log_prob), target_slope)
        numpyro.factor(f"{prefix}_factor", log_factor)
        return z

    def _base(self, dim: int, start: Callable) -> dist.Distribution:
        loc = param(f"{self.prefix}_z_0_loc", start)
        if self.base_dist == "diagonal":
            scale = param(
                f"{self.prefix}_z_0_scale",
                jnp.full(dim, self.init_scale),
                constraint=constraints.positive,
            )
            return dist.Normal(loc, scale).to_event(1)
        scale_tril = param(
            f"{self.prefix}_z_0_scale_tril",
            jnp.identity(dim) * self.init_scale,
            constraint=constraints.scaled_unit_lower_cholesky,
        )
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)
