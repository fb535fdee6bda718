"""`AutoBNAFNormal`: block neural autoregressive flows."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from taut._core.errors import InputError
from taut.infer.autoguide.block_autoregressive import BlockAutoregressive, BlockNetwork
from taut.infer.autoguide.flow import AutoFlow
from taut.infer.autoguide.guide import AutoGuide


class AutoBNAFNormal(AutoFlow):
    """Standard normal noise carried through block neural autoregressive flows.

    Args:
        model: a NumPyro model.
        num_flows: how many flows.
        hidden_factors: hidden units per latent coordinate, for each hidden layer.
        **options: what `AutoGuide` takes.

    Source: De Cao, Titov, Aziz, "Block Neural Autoregressive Flow", 2019.
    """

    def __init__(
        self,
        model: Callable,
        *,
        num_flows: int = 1,
        hidden_factors: Sequence[int] = (8, 8),
        **options: Any,
    ):
        AutoGuide.__init__(self, model, **options)
        if num_flows < 1:
            raise InputError(f"num_flows must be at least 1; got {num_flows}")
        self.num_flows = num_flows
        self.hidden_factors = tuple(hidden_factors)

    def _network(self, dim: int, flow: int) -> BlockNetwork:
        return BlockNetwork(dim, self.hidden_factors, gated=flow < self.num_flows - 1)

    def _transform(self, network: BlockNetwork, params: Any) -> BlockAutoregressive:
        return BlockAutoregressive(network, params)

    def _dim(self, params: dict) -> int:
        layers = self._lookup(params, self._name(0))
        if self.num_flows > 1:
            layers = layers[1][0]
        return jnp.shape(layers[0][0])[0]
