"""The pieces of a triangular flow's map, and the sparse matrices that they are linear in."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from taut._core.namespace import namespace


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise, and the pieces of the map that no coefficient changes.

    Attributes:
        value: e (draws, dim).
        root: sqrt(1 + e^2) (draws, dim).
        arcsinh: of e (draws, dim).
        first: the noise that comes first in each product (draws, pairs).
        second: that which comes second, likewise.
        products: orthonormal products of pairs of noise (draws, pairs).
    """

    value: Float[Any, "draws dim"]
    root: Float[Any, "draws dim"]
    arcsinh: Float[Any, "draws dim"]
    first: Float[Any, "draws pairs"]
    second: Float[Any, "draws pairs"]
    products: Float[Any, "draws pairs"]

    @classmethod
    def of(cls, value: Float[Any, "draws dim"], pairs: Int[Any, "pairs 2"], same: Any) -> "Noise":
        """Make the pieces.

        Args:
            value: the noise.
            pairs: which noise each product is made of.
            same: whether a product is a square (pairs,).
        """
        root = namespace(value).sqrt(1.0 + value * value)
        first, second = value[:, pairs[:, 0]], value[:, pairs[:, 1]]
        products = product(first, second, same)
        return cls(value, root, _arcsinh(value, root), first, second, products)


@dataclasses.dataclass(frozen=True)
class Layers:
    """The pieces of `x = (h(e) + lean) exp(log_scale) + shift` at some noise.

    The slope and its derivative are made when they are asked for: draws alone need neither.

    Attributes:
        noise: e, and what is made of it alone.
        log_scale: s (draws, dim).
        weight: tail weights (dim,).
        angle: (arcsinh(e) + skew) weight, of which h is the hyperbolic sine (draws, dim).
        marginal: h (draws, dim).
        cosh: hyperbolic cosine of the angle (draws, dim).
        inner: h + lean (draws, dim).
        width: exp(s) (draws, dim).
        spread: (h + lean) exp(s) (draws, dim).
        x: the result (draws, dim).
    """

    noise: Noise
    log_scale: Float[Any, "draws dim"]
    weight: Float[Any, " dim"]
    angle: Float[Any, "draws dim"]
    marginal: Float[Any, "draws dim"]
    cosh: Float[Any, "draws dim"]
    inner: Float[Any, "draws dim"]
    width: Float[Any, "draws dim"]
    spread: Float[Any, "draws dim"]
    x: Float[Any, "draws dim"]

    @functools.cached_property
    def slope(self) -> Float[Any, "draws dim"]:
        """Derivative of h."""
        return self.cosh / self.noise.root * self.weight

    @functools.cached_property
    def log_slope_gradient(self) -> Float[Any, "draws dim"]:
        """Derivative of the logarithm of the slope."""
        noise = self.noise
        return (self.marginal / self.cosh * self.weight - noise.value / noise.root) / noise.root

    def prepare(self) -> None:
        """Make all of them, while other work is under way."""
        _ = self.slope, self.log_slope_gradient


# Up to so many features one product takes less time than picking rows.
FEW = 64


class Coefficients:
    """Coefficients of features (features, dim); most rows of a large flow are zero.

    Args:
        matrix: the coefficients.

    Attributes:
        filled: the features whose coefficients are not all known to be zero.
    """

    def __init__(self, matrix: Float[Any, "features dim"]):
        rows = _filled(matrix)
        self._rows = rows
        self._some = matrix if rows is None else matrix[rows]
        self._back = matrix.T if rows is None or len(matrix) <= FEW else None
        self.filled: list[int] = list(range(len(matrix)) if rows is None else rows)

    def through(self, features: Float[Any, "draws features"]) -> Float[Any, "draws dim"]:
        """Return features @ coefficients."""
        return (features if self._rows is None else features[:, self._rows]) @ self._some

    def add_back(
        self, result: Float[Any, "draws features"], gradients: Float[Any, "draws dim"]
    ) -> Float[Any, "draws features"]:
        """Return result + gradients @ coefficients'."""
        if not self.filled:
            return result
        if self._back is not None:
            return result + gradients @ self._back
        result = result.copy()
        result[:, self._rows] += gradients @ self._some.T
        return result


def product(first: Any, second: Any, same: Any) -> Any:
    """Return the Hermite polynomial of a pair of noise: mean zero, variance one, uncorrelated."""
    return (first * second - same) * product_scale(same)


def product_scale(same: Any) -> Any:
    """Return what a product of a pair is multiplied by to have variance one."""
    return 1.0 - same * (1.0 - 0.5**0.5)


def _arcsinh(value: Any, root: Any) -> Any:
    """Return arcsinh, with root = sqrt(1 + value^2); NumPy's own takes most of a flow's time."""
    if namespace(value) is np:
        return np.copysign(np.log(np.abs(value) + root), value)
    return jnp.arcsinh(value)


def _filled(matrix: Any) -> Any:
    """Return the rows that are not all zero, if they are known and few; else None."""
    if namespace(matrix) is not np:
        return None
    rows = np.flatnonzero(matrix.any(axis=1))
    return rows if 2 * len(rows) < len(matrix) else None
