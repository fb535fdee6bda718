"""A masked network and the inverse autoregressive map y = μ(x) + σ(x) x made with it.

The i-th outputs of the network depend on x_1, …, x_{i-1} only, so the Jacobian is triangular with
diagonal σ(x). The params of a network are a list of layers, (weights, bias) for a dense layer and
() for a nonlinearity, as `jax.example_libraries.stax` keeps them.

Sources: Germain, Gregor, Murray, Larochelle, "MADE: Masked Autoencoder for Distribution
Estimation", 2015; Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling, "Improving Variational
Inference with Inverse Autoregressive Flow", 2016, eq. 10.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from numpyro.distributions import constraints
from numpyro.distributions.transforms import Transform

from taut._core.errors import InputError

# Bounds on log σ: a step cannot blow up or collapse a coordinate.
LEAST_LOG_SCALE, MOST_LOG_SCALE = -5.0, 3.0


@dataclasses.dataclass(frozen=True)
class MaskedNetwork:
    """An autoregressive network with outputs μ and log σ.

    Attributes:
        dim: length of its input.
        hidden_dims: widths of its hidden layers, each at least `dim`.
        skip_connections: whether a masked linear map of the input is added to the output.
        nonlinearity: a function of arrays between the layers.
    """

    dim: int
    hidden_dims: tuple[int, ...]
    skip_connections: bool
    nonlinearity: Callable

    def __post_init__(self):
        narrow = [width for width in self.hidden_dims if width < self.dim]
        if narrow or not self.hidden_dims:
            raise InputError(
                f"hidden_dims must be widths of at least the latent dimension, {self.dim}; got "
                f"{list(self.hidden_dims)}"
            )

    def start(self, key: Any) -> list:
        """Return random params."""
        layers: list[Any] = []
        for mask in self._masks():
            key, weights_key, bias_key = random.split(key, 3)
            weights = jax.nn.initializers.glorot_normal()(weights_key, mask.shape)
            bias = jax.nn.initializers.normal()(bias_key, mask.shape[-1:])
            layers += [(weights, bias), ()]
        layers.pop()
        if not self.skip_connections:
            return layers
        skip = jax.nn.initializers.glorot_normal()(key, self._skip_mask().shape)
        return [(), (layers, skip), ()]

    def __call__(self, params: Any, x: Any) -> tuple[Any, Any]:
        """Return μ and log σ, each (..., dim), at x (..., dim)."""
        if self.skip_connections:
            layers, skip = params[1]
            out = self._dense(layers, x) + x @ (skip * self._skip_mask())
        else:
            out = self._dense(params, x)
        mean, log_scale = out[..., : self.dim], out[..., self.dim :]
        return mean, jnp.clip(log_scale, LEAST_LOG_SCALE, MOST_LOG_SCALE)

    def _dense(self, layers: Any, x: Any) -> Any:
        masks = self._masks()
        for i, mask in enumerate(masks):
            weights, bias = layers[2 * i]
            x = x @ (weights * mask) + bias
            x = self.nonlinearity(x) if i < len(masks) - 1 else x
        return x

    def _masks(self) -> list[np.ndarray]:
        # A hidden unit of degree d sees x_1, …, x_d; output i sees units of degree below i.
        ranks = np.arange(1, self.dim + 1)
        degrees = [np.round(np.linspace(1, self.dim - 1, width)) for width in self.hidden_dims]
        chain = [ranks, *degrees]
        masks = [b[None, :] >= a[:, None] for a, b in itertools.pairwise(chain)]
        return [*masks, np.tile(ranks, 2)[None, :] > degrees[-1][:, None]]

    def _skip_mask(self) -> np.ndarray:
        ranks = np.arange(1, self.dim + 1)
        return np.tile(ranks, 2)[None, :] > ranks[:, None]


class NetworkTransform(Transform):
    """A map of real vectors made by a network.

    Args:
        network: the network; static.
        params: of the network.
    """

    domain: Any = constraints.real_vector
    codomain: Any = constraints.real_vector

    def __init__(self, network: Any, params: Any):
        self.network = network
        self.params = params

    def tree_flatten(self) -> tuple:
        """Return the params, and the network as static."""
        return (self.params,), (("params",), {"network": self.network})

    def eq(self, other: Any, static: bool = False) -> Any:
        """Return whether another map has the same network and holds the same arrays."""
        if type(self) is not type(other) or self.network != other.network:
            return False
        mine, theirs = (jax.tree_util.tree_leaves(t.params) for t in (self, other))
        return len(mine) == len(theirs) and all(a is b for a, b in zip(mine, theirs, strict=True))


class InverseAutoregressive(NetworkTransform):
    """The map y = μ(x) + σ(x) x; its network makes μ and log σ."""

    def __call__(self, x: Any) -> Any:
        """Return y (..., dim) at x (..., dim)."""
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(self, x: Any) -> tuple[Any, Any]:
        """Return y and log σ, from which the log Jacobian follows."""
        mean, log_scale = self.network(self.params, x)
        return mean + jnp.exp(log_scale) * x, log_scale

    def _inverse(self, y: Any) -> Any:
        # After i rounds the first i coordinates are right. A scan can be differentiated.
        def fix_next(x: Any, _: None) -> tuple[Any, None]:
            mean, log_scale = self.network(self.params, x)
            return (y - mean) * jnp.exp(-log_scale), None

        return lax.scan(fix_next, jnp.zeros_like(y), None, length=self.network.dim)[0]

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> Any:
        """Return Σ log σ, one per vector."""
        log_scale = self.network(self.params, x)[1] if intermediates is None else intermediates
        return jnp.sum(log_scale, axis=-1)
