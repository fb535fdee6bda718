"""Guides whose latent vector has a distribution that can be written down."""

import abc
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import random
from numpyro import handlers
from numpyro.distributions.transforms import ComposeTransform, Transform
from numpyro.infer.autoguide import AutoContinuous as NumPyroAutoContinuous

from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.continuous import AutoContinuous
from taut.infer.autoguide.structure import Structure


def seeded_key(rng_key: Any) -> Any:
    """Return the key that `handlers.seed` gives to the first site of a program."""
    return random.split(rng_key)[1]


class AutoPosterior(AutoContinuous):
    """A guide that samples `_auto_latent` from one distribution."""

    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Draw from the guide."""
        posterior = self.get_posterior(params, *args, **kwargs).expand_by(tuple(sample_shape))
        latent = posterior.sample(seeded_key(rng_key))
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
    def prototype_trace(self) -> dict[str, dict[str, Any]]:
        """The model's sites, as `numpyro.infer.reparam.NeuTraReparam` asks for them."""
        structure = self._layout
        sites = {n: {"type": "sample", "is_observed": False} for n in structure.names}
        sites |= {n: {"type": "sample", "is_observed": True} for n in structure.observed}
        sites |= {n: {"type": "plate"} for n in structure.plates}
        return {name: {"name": name, **site} for name, site in sites.items()}

    @property
    def _layout(self) -> Structure:
        return self._fitted or self._recall((), {}).structure

    def _unpack_latent(self, latent: Any) -> dict[str, Any]:
        """Return the unconstrained images of the sites at a latent vector (dim,)."""
        return self._layout.split(latent)

    def _unpack_and_constrain(self, latent: Any, params: dict) -> dict[str, Any]:
        """Return the sites' values at latent vectors (..., dim)."""
        return self._values(latent, params, (), {})

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


# What `NeuTraReparam` takes is known to it by this class.
NumPyroAutoContinuous.register(AutoPosterior)
