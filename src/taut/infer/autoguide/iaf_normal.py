"""`AutoIAFNormal`: inverse autoregressive flows."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from taut._core.errors import InputError
from taut.infer.autoguide.flow import AutoFlow
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.autoguide.masked_autoregressive import InverseAutoregressive, MaskedNetwork


class AutoIAFNormal(AutoFlow):
    """Standard normal noise carried through inverse autoregressive flows.

    Args:
        model: a NumPyro model.
        num_flows: how many flows.
        hidden_dims: widths of each network's hidden layers; the latent dimension, twice, by
            default.
        skip_connections: whether a linear map of the input is added to each network's output.
        nonlinearity: a function of arrays, or a pair (init, apply) of
            `jax.example_libraries.stax`; the exponential linear unit by default.
        **options: what `AutoGuide` takes.

    Source: Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016.
    """

    def __init__(
        self,
        model: Callable,
        *,
        num_flows: int = 3,
        hidden_dims: Sequence[int] | None = None,
        skip_connections: bool = False,
        nonlinearity: Any = None,
        **options: Any,
    ):
        AutoGuide.__init__(self, model, **options)
        if num_flows < 1:
            raise InputError(f"num_flows must be at least 1; got {num_flows}")
        self.num_flows = num_flows
        self.hidden_dims = hidden_dims
        self.skip_connections = skip_connections
        self.nonlinearity = nonlinearity

    def _network(self, dim: int, flow: int) -> MaskedNetwork:
        hidden = (dim, dim) if self.hidden_dims is None else tuple(self.hidden_dims)
        return MaskedNetwork(dim, hidden, self.skip_connections, _function(self.nonlinearity))

    def _transform(self, network: MaskedNetwork, params: Any) -> InverseAutoregressive:
        return InverseAutoregressive(network, params)

    def _dim(self, params: dict) -> int:
        layers = self._lookup(params, self._name(0))
        if self.skip_connections:
            layers = layers[1][0]
        return jnp.shape(layers[0][0])[0]


def _function(nonlinearity: Any) -> Callable:
    # Kept as None in the guide: JAX's own functions cannot be pickled.
    if nonlinearity is None:
        return jax.nn.elu
    if callable(nonlinearity):
        return nonlinearity
    _, apply = nonlinearity
    return lambda x: apply((), x)
