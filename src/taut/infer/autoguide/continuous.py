"""Guides whose latent vector has a distribution that can be written down."""

import abc
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import random
from numpyro import handlers
from numpyro.distributions.transforms import ComposeTransform, Transform
from numpyro.infer.autoguide import AutoContinuous as NumPyroAutoContinuous

from taut._core.errors import InputError, UnsupportedError
from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.initial_vector import InitialVector
from taut.infer.autoguide.latent_vector import AutoLatentVector

NO_TRANSFORM = (
    "{name} has no map from standard normal noise to the latent vector: its _get_posterior returns "
    "no TransformedDistribution; define get_transform, or return one"
)


def seeded_key(rng_key: Any) -> Any:
    """Return the key that `handlers.seed` gives to the first site of a program."""
    return random.split(rng_key)[1]


class AutoContinuous(AutoLatentVector):
    """A guide that samples the latent vector from one distribution.

    A class of one's own states that distribution, as for NumPyro's class of this name::

        class AutoStudentT(AutoContinuous):
            def _get_posterior(self):
                loc = numpyro.param(f"{self.prefix}_loc", self._init_latent)
                scale = numpyro.param(
                    f"{self.prefix}_scale",
                    jnp.full(self.latent_dim, 0.1),
                    constraint=constraints.positive,
                )
                return dist.StudentT(5.0, loc, scale).to_event(1)

    `self._init_latent`, known inside `_get_posterior` only, is the vector to start from; for more
    than handing it to `numpyro.param`, and adding and multiplying, take `jnp.array` of it.
    `AutoGuide` lists what the guide takes.
    """

    _init_latent: InitialVector

    @abc.abstractmethod
    def _get_posterior(self) -> dist.Distribution:
        """Declare the params and return the distribution of the latent vector (dim,)."""

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
            return self._posterior_from(InitialVector(self._dim(params), None))

    def get_transform(self, params: dict, *args: Any, **kwargs: Any) -> Transform:
        """Return the map from standard normal noise to the latent vector.

        Args:
            params: the fitted parameters.
            *args: the model's arguments, for a guide whose distribution depends on them.
            **kwargs: the model's keyword arguments.

        Raises:
            UnsupportedError: the guide's distribution is not made of such a map.
        """
        posterior = self.get_posterior(params, *args, **kwargs)
        if not isinstance(posterior, dist.TransformedDistribution):
            raise UnsupportedError(NO_TRANSFORM.format(name=type(self).__name__))
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

    def _unpack_latent(self, latent: Any) -> dict[str, Any]:
        """Return the unconstrained images of the sites at a latent vector (dim,)."""
        return self._layout.split(latent)

    def _unpack_and_constrain(self, latent: Any, params: dict) -> dict[str, Any]:
        """Return the sites' values at latent vectors (..., dim)."""
        return self._values(latent, params, (), {})

    def _posterior_from(self, initial: InitialVector) -> dist.Distribution:
        # What is left on a guide would become part of what it is known by.
        self._init_latent = initial
        try:
            return self._get_posterior()
        finally:
            del self._init_latent

    def _dim(self, params: dict) -> int:
        return self.latent_dim

    def _sample_latent(self, bound: BoundModel) -> Any:
        initial = InitialVector(bound.structure.dim, self._start(bound).vector)
        posterior = self._posterior_from(initial)
        if len(posterior.shape()) != 1:
            raise InputError(
                f"{type(self).__name__}._get_posterior returned a {type(posterior).__name__} of "
                f"shape {posterior.shape()}; the latent vector has shape {initial.shape}"
            )
        return numpyro.sample(f"_{self.prefix}_latent", posterior, infer={"is_auxiliary": True})


# What `NeuTraReparam` takes is known to it by this class.
NumPyroAutoContinuous.register(AutoContinuous)
