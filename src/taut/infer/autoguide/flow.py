"""What the guides made of normalising flows share."""

import abc
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions.transforms import PermuteTransform, Transform

from taut._core.errors import InputError
from taut.infer.autoguide.continuous import AutoContinuous, seeded_key
from taut.infer.autoguide.param import param


class AutoFlow(AutoContinuous):
    """A guide that carries standard normal noise through flows, the order reversed between them.

    Its params are `auto_arn__0$params` and so on, one pytree for each flow. Draws carry their
    density; that of other points is found by inverting the flows.
    """

    num_flows: int

    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Draw from the guide."""
        shape = tuple(sample_shape)

        def run(key: Any, params: dict) -> Any:
            return self.get_posterior(params).expand_by(shape).sample(seeded_key(key))

        latent = self._compile(("draws", shape), run)(rng_key, params)
        return self._values(latent, params, args, kwargs)

    @abc.abstractmethod
    def _network(self, dim: int, flow: int) -> Any:
        """Return the network of a flow."""

    @abc.abstractmethod
    def _transform(self, network: Any, params: Any) -> Transform:
        """Return a flow with this network and these params."""

    def _get_posterior(self) -> dist.TransformedDistribution:
        dim = self._init_latent.size
        if dim == 1:
            raise InputError(
                f"{type(self).__name__} needs at least two latent coordinates, and the model has "
                "one; use AutoDiagonalNormal"
            )
        flows: list[Transform] = []
        for i in range(self.num_flows):
            if i > 0:
                flows.append(PermuteTransform(jnp.arange(dim)[::-1]))
            network = self._network(dim, i)
            flows.append(self._transform(network, param(self._name(i), network.start)))
        return dist.TransformedDistribution(dist.Normal(jnp.zeros(dim), 1).to_event(1), flows)

    def _name(self, flow: int) -> str:
        return f"{self.prefix}_arn__{flow}$params"
