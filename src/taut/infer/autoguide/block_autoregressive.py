"""A monotone block network and the triangular map y = f(x) it makes.

Each input has a block of hidden units of its own. Weights inside a block are positive and the
activation increases, so y_i increases in x_i; weights between blocks only reach forward, so y_i
depends on x_1, …, x_i. The logarithms of the diagonal of the Jacobian are carried along through
the layers as log-sums over each block.

The activation is tanh(x) + 0.01 x: with tanh alone, as in the paper, y would be bounded, the map
would not reach all of R^n, and the density would vanish far out.

The params of a network are a list of layers, (weights, log scales, bias) for a block layer and ()
for an activation, as `jax.example_libraries.stax` keeps them.

Source: De Cao, Titov, Aziz, "Block Neural Autoregressive Flow", 2019, eq. 8 to 14.
"""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jax.nn import log_sigmoid, sigmoid, softplus
from jax.scipy.special import logsumexp

from taut._core.errors import InputError
from taut.infer.autoguide.masked_autoregressive import NetworkTransform

LEAK = 0.01

# Enough to bracket any single-precision number, and to halve the bracket to its last bit.
DOUBLINGS, HALVINGS = 64, 64


@dataclasses.dataclass(frozen=True)
class BlockNetwork:
    """A block autoregressive network.

    Attributes:
        dim: length of its input and output.
        hidden_factors: hidden units per input, for each hidden layer.
        gated: whether the output is a learnt mean of that of the layers and the input itself.
    """

    dim: int
    hidden_factors: tuple[int, ...]
    gated: bool

    def __post_init__(self):
        if any(factor < 1 or factor != int(factor) for factor in self.hidden_factors):
            raise InputError(
                f"hidden_factors must be positive integers; got {list(self.hidden_factors)}"
            )

    def start(self, key: Any) -> list:
        """Return random params."""
        layers: list[Any] = []
        for fan_in, fan_out in self._factors():
            key, weights_key, scale_key, bias_key = random.split(key, 4)
            width = self.dim * fan_out
            # Glorot's uniform draws, each block by the number of inputs that reach it.
            rows, reach = self.dim * fan_in, fan_in * np.arange(1, self.dim + 1)
            limit = np.sqrt(6.0 / (reach + fan_out))
            reached = np.arange(rows)[:, None] < np.repeat(reach, fan_out)
            weights = random.uniform(weights_key, (rows, width), minval=-1.0)
            weights = weights * np.repeat(limit, fan_out).astype(weights.dtype) * reached
            bias = (random.uniform(bias_key, (width,)) - 0.5) * 2 / np.sqrt(width)
            log_scale = jnp.log(random.uniform(scale_key, (width,), minval=1e-6))
            layers += [(weights, log_scale, bias), ()]
        layers.pop()
        return [(), (layers, ()), random.normal(key, ())] if self.gated else layers

    def __call__(self, params: Any, x: Any) -> tuple[Any, Any]:
        """Return y and log ∂y_i/∂x_i, each (..., dim), at x (..., dim)."""
        if not self.gated:
            return self._layers(params, x)
        (layers, _), gate = params[1], params[2]
        y, log_slope = self._layers(layers, x)
        mixed = sigmoid(gate) * y + (1.0 - sigmoid(gate)) * x
        return mixed, jnp.logaddexp(log_sigmoid(gate) + log_slope, log_sigmoid(-gate))

    def _layers(self, layers: Any, x: Any) -> tuple[Any, Any]:
        # Log slopes of the units of each block in its input: (..., dim, units).
        log_slope = jnp.zeros((*x.shape, 1), x.dtype)
        for i, (fan_in, fan_out) in enumerate(self._factors()):
            weights, log_scale, bias = layers[2 * i]
            own, earlier = _block_masks(self.dim, fan_in, fan_out)
            inside: Any = jnp.where(own, weights, 0.0)
            dense = jnp.where(own, jnp.exp(inside), weights * earlier)
            norm = jnp.linalg.norm(dense, axis=0)
            x = x @ (jnp.exp(log_scale) * dense / norm) + bias
            logs = (weights + log_scale - jnp.log(norm))[own].reshape(self.dim, fan_in, fan_out)
            log_slope = logsumexp(log_slope[..., None] + logs, axis=-2)
            if i < len(self.hidden_factors):
                slope = jnp.logaddexp(_log_tanh_slope(x), np.log(LEAK))
                log_slope = log_slope + slope.reshape(log_slope.shape)
                x = jnp.tanh(x) + LEAK * x
        return x, log_slope[..., 0]

    def _factors(self) -> list[tuple[int, int]]:
        widths = (1, *self.hidden_factors, 1)
        return list(itertools.pairwise(widths))


class BlockAutoregressive(NetworkTransform):
    """The map y = f(x) of a block network; its inverse is found coordinate by coordinate."""

    def __call__(self, x: Any) -> Any:
        """Return y (..., dim) at x (..., dim)."""
        return self.network(self.params, x)[0]

    def call_with_intermediates(self, x: Any) -> tuple[Any, Any]:
        """Return y and log ∂y_i/∂x_i, from which the log Jacobian follows."""
        return self.network(self.params, x)

    def _inverse(self, y: Any) -> Any:
        """Return x by bisection, and one Newton step, which carries the derivatives.

        It costs 128 evaluations of the network per coordinate.
        """
        single = self._invert_one
        for _ in range(jnp.ndim(y) - 1):
            single = jax.vmap(single)
        return single(y)

    def _invert_one(self, y: Any) -> Any:
        rough = lax.stop_gradient(self._bisect(lax.stop_gradient(y)))
        slopes = lax.stop_gradient(jax.jacfwd(self)(rough))
        return rough - jax.scipy.linalg.solve_triangular(slopes, self(rough) - y, lower=True)

    def _bisect(self, y: Any) -> Any:
        def solve(x: Any, i: Any) -> tuple[Any, None]:
            def height(value: Any) -> Any:
                return self(x.at[i].set(value))[i] - y[i]

            def widen(_: Any, ends: Any) -> Any:
                low, high = ends
                return (
                    jnp.where(height(low) > 0, 2 * low, low),
                    jnp.where(height(high) < 0, 2 * high, high),
                )

            def halve(_: Any, ends: Any) -> Any:
                low, high = ends
                middle = 0.5 * (low + high)
                above = height(middle) > 0
                return jnp.where(above, low, middle), jnp.where(above, middle, high)

            one = jnp.ones((), y.dtype)
            ends = lax.fori_loop(0, DOUBLINGS, widen, (-one, one))
            low, high = lax.fori_loop(0, HALVINGS, halve, ends)
            return x.at[i].set(0.5 * (low + high)), None

        return lax.scan(solve, jnp.zeros_like(y), jnp.arange(self.network.dim))[0]

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> Any:
        """Return Σ log ∂y_i/∂x_i, one per vector."""
        slopes = self.network(self.params, x)[1] if intermediates is None else intermediates
        return jnp.sum(slopes, axis=-1)


def _block_masks(dim: int, fan_in: int, fan_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Which weights lie inside a block, and which come from the blocks before it."""
    source = np.repeat(np.arange(dim), fan_in)[:, None]
    goal = np.repeat(np.arange(dim), fan_out)[None, :]
    return source == goal, source < goal


def _log_tanh_slope(x: Any) -> Any:
    return -2.0 * (x + softplus(-2.0 * x) - np.log(2.0))
