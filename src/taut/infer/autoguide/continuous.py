"""Guides on the latent vector: one distribution on R^dim, carried to the model's sites.

Such a guide samples the auxiliary site `_auto_latent` and sets each site of the model by a `Delta`
at its value, whose log density is minus the log Jacobian: the density of the sites is then that of
the latent vector, in the model's own coordinates.

Source: Kucukelbir, Tran, Ranganath, Gelman, Blei, "Automatic Differentiation Variational
Inference", 2017.
"""

import abc
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions.transforms import ComposeTransform, Transform

from taut._core.errors import InputError
from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.guide import AutoGuide

LOCAL_LATENTS = (
    "site {name!r} lies in the subsampled plate {plate!r}, so it has another value for every "
    "subsample and no single latent vector; use AutoNormal, AutoDelta or AutoSemiDAIS"
)


class AutoContinuous(AutoGuide):
    """A guide whose draws are vectors of R^dim; `AutoGuide` lists what it takes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the guide as a NumPyro program."""
        bound = self._bind(args, kwargs)
        latent = self._sample_latent(bound)
        result = {}
        for name, placed in bound.place(bound.structure.split(latent)).items():
            event_dim = jnp.ndim(placed.value) - jnp.ndim(placed.log_jacobian)
            delta = dist.Delta(placed.value, -placed.log_jacobian, event_dim=event_dim)
            result[name] = numpyro.sample(name, delta)
        return result

    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Draw from the guide."""
        latent = self.get_posterior(params, *args, **kwargs).sample(rng_key, tuple(sample_shape))
        return self._values(latent, params, args, kwargs)

    def get_posterior(self, params: dict, *args: Any, **kwargs: Any) -> dist.Distribution:
        """Return the distribution of the latent vector at these params.

        Args:
            params: the fitted parameters.
            *args: the model's arguments, for a guide whose distribution depends on them.
            **kwargs: the model's keyword arguments.
        """
        with handlers.block(), handlers.substitute(substitute_fn=self._given(params)):
            return self._posterior(self._dim(params), None)

    def get_transform(self, params: dict, *args: Any, **kwargs: Any) -> Transform:
        """Return the map from standard normal noise to the latent vector.

        Args:
            params: the fitted parameters.
            *args: the model's arguments, for a guide whose distribution depends on them.
            **kwargs: the model's keyword arguments.
        """
        posterior = self.get_posterior(params, *args, **kwargs)
        assert isinstance(posterior, dist.TransformedDistribution)
        return ComposeTransform(posterior.transforms)

    def get_base_dist(self) -> dist.Distribution:
        """Return the distribution of the noise that `get_transform` takes: standard normal."""
        return dist.Normal(jnp.zeros(self.latent_dim), 1).to_event(1)

    @property
    def latent_dim(self) -> int:
        """Length of the latent vector, for the arguments of the latest call."""
        return self._recall((), {}).structure.dim

    @abc.abstractmethod
    def _posterior(self, dim: int, start: Callable | None) -> dist.Distribution:
        """Declare the params and return the distribution of the latent vector.

        Args:
            dim: length of the latent vector.
            start: makes the vector to start from, given a key.
        """

    def _dim(self, params: dict) -> int:
        return jnp.size(self._lookup(params, f"{self.prefix}_loc"))

    def _sample_latent(self, bound: BoundModel) -> Any:
        posterior = self._posterior(bound.structure.dim, self._start(bound).vector)
        return numpyro.sample(f"_{self.prefix}_latent", posterior, infer={"is_auxiliary": True})

    def _bind(self, args: tuple, kwargs: dict) -> BoundModel:
        bound = super()._bind(args, kwargs)
        if not bound.structure.latents:
            raise InputError(
                f"{type(self).__name__} found no latent variables in the model; use an empty "
                "function as the guide: def guide(*args, **kwargs): pass"
            )
        problems = [
            LOCAL_LATENTS.format(name=latent.name, plate=frame.name)
            for latent in bound.structure.latents
            for frame in latent.frames
            if frame.subsampled
        ]
        if problems:
            raise InputError(problems)
        return bound

    def _values(self, latent: Any, params: dict, args: tuple, kwargs: dict) -> dict[str, Any]:
        """Return the sites' values at latent vectors (..., dim)."""
        latent = jnp.asarray(latent)
        bound = self._recall_for(latent.shape[-1], args, kwargs)
        parts = bound.structure.split(latent)
        return self._constrain(bound, parts, latent.shape[:-1], params)

    def _recall_for(self, dim: int, args: tuple, kwargs: dict) -> BoundModel:
        """Bind arguments, laid out for latent vectors of a given length."""
        bound = self._recall(args, kwargs)
        if bound.structure.dim == dim:
            return bound
        # A model called without its observations has more latent sites: predictions.
        for structure in self._structures.values():
            if structure.dim == dim:
                return BoundModel(self.model, bound.arguments, structure)
        raise InputError(
            f"the params are for {dim} latent coordinates, but with these arguments the model has "
            f"{bound.structure.dim}; pass the arguments that the guide was fitted with"
        )
