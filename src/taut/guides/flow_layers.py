"""The pieces of a triangular flow's map, one row for each coordinate, over all draws.

What belongs to a coordinate multiplies a whole row, sums over coordinates add rows up, and what
products are made of is picked by rows: with draws in rows NumPy takes longer for each of these, and
in chains and fits of small models the map is most of what the host does.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from taut._core.namespace import namespace


class Pairs:
    """Which noise each product of a flow is made of.

    Args:
        indices: of the two coordinates of each (pairs, 2).
        dim: number of coordinates.
    """

    def __init__(self, indices: Int[Any, "pairs 2"], dim: int):
        xp = namespace(indices)
        self._first, self._second = indices[:, 0], indices[:, 1]
        self._same = xp.asarray(self._first == self._second)[:, None]
        self._scale = product_scale(self._same)
        self._chosen = xp.eye(dim)[:, xp.concatenate([self._first, self._second])]

    def of(self, noise: Float[Any, "dim draws"]) -> tuple[Any, Any, Any]:
        """Return the noise that comes first in each product, and second, and 1 with the products.

        Shapes are (pairs, draws) twice and (1 + pairs, draws).
        """
        xp, first, second = namespace(noise), noise[self._first], noise[self._second]
        products = (first * second - self._same) * self._scale
        return first, second, xp.concatenate([xp.ones_like(noise[:1]), products])

    def add_back(
        self, result: Float[Any, "dim draws"], bent: Float[Any, "pairs draws"], noise: "Noise"
    ) -> Float[Any, "dim draws"]:
        """Return a gradient with respect to noise, with the share that comes through products.

        Args:
            result: the rest of it.
            bent: gradient with respect to the products.
            noise: where.
        """
        xp, bent = namespace(result), bent * self._scale
        return result + self._chosen @ xp.concatenate([bent * noise.second, bent * noise.first])


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise, and the pieces of the map that no coefficient changes.

    Attributes:
        value: e (dim, draws).
        root: sqrt(1 + e^2) (dim, draws).
        arcsinh: of e (dim, draws).
        first: the noise that comes first in each product (pairs, draws).
        second: that which comes second, likewise.
        products: 1, and orthonormal products of pairs of noise (1 + pairs, draws).
    """

    value: Float[Any, "dim draws"]
    root: Float[Any, "dim draws"]
    arcsinh: Float[Any, "dim draws"]
    first: Float[Any, "pairs draws"]
    second: Float[Any, "pairs draws"]
    products: Float[Any, "features draws"]

    @classmethod
    def of(cls, value: Float[Any, "draws dim"], pairs: Pairs) -> "Noise":
        """Make the pieces for noise that comes draw by draw."""
        rows = value.T.copy()
        root = namespace(rows).sqrt(1.0 + rows * rows)
        return cls(rows, root, _arcsinh(rows, root), *pairs.of(rows))

    def paired(self, pairs: Pairs) -> "Noise":
        """Return the same noise with other products."""
        return Noise(self.value, self.root, self.arcsinh, *pairs.of(self.value))

    @property
    def draws(self) -> int:
        """How many draws it makes."""
        return self.value.shape[1]


@dataclasses.dataclass(frozen=True)
class Layers:
    """The pieces of `x = (h(e) + lean) exp(log_scale) + shift` at some noise.

    The slope and its derivative are made when they are asked for: draws alone need neither.

    Attributes:
        noise: e, and what is made of it alone.
        weight: tail weights (dim, 1).
        exponent: the angle (arcsinh(e) + skew) weight, of which h is the hyperbolic sine, less
            log 2 (dim, draws).
        marginal: h (dim, draws).
        cosh: hyperbolic cosine of the angle (dim, draws).
        log_scale: s (dim, draws).
        width: exp(s) (dim, draws).
        spread: (h + lean) exp(s) (dim, draws).
        x: the result (dim, draws).
    """

    noise: Noise
    weight: Float[Any, "dim 1"]
    exponent: Float[Any, "dim draws"]
    marginal: Float[Any, "dim draws"]
    cosh: Float[Any, "dim draws"]
    log_scale: Float[Any, "dim draws"]
    width: Float[Any, "dim draws"]
    spread: Float[Any, "dim draws"]
    x: Float[Any, "dim draws"]

    @functools.cached_property
    def steepness(self) -> Float[Any, "dim draws"]:
        """Derivative of h, but for the tail weight."""
        return self.cosh / self.noise.root

    @functools.cached_property
    def slope(self) -> Float[Any, "dim draws"]:
        """Derivative of h."""
        return self.steepness * self.weight

    @functools.cached_property
    def log_slope_gradient(self) -> Float[Any, "dim draws"]:
        """Derivative of the logarithm of the slope."""
        noise, result = self.noise, self.marginal / self.cosh
        result *= self.weight
        result -= noise.value / noise.root
        result /= noise.root
        return result

    def prepare(self) -> None:
        """Make all of them, while other work is under way."""
        _ = self.slope, self.log_slope_gradient


@dataclasses.dataclass(frozen=True)
class Pulled:
    """Gradients of log p + log_det with respect to the pieces of the map at some noise.

    Attributes:
        both: with respect to the log scales, and then the shifts (2 dim, draws).
        products: with respect to the products of noise (pairs, draws).
        wide: with respect to h + lean, where the scales and shifts stay (dim, draws).
        marginal: with respect to h, but for its own slope (dim, draws).
    """

    both: Float[Any, "rows draws"]
    products: Float[Any, "pairs draws"]
    wide: Float[Any, "dim draws"]
    marginal: Float[Any, "dim draws"]


# Up to so many coordinates one product takes less time than picking rows.
FEW = 64


class Coefficients:
    """Log scales and shifts as linear functions of features: 1, products, h of some coordinates.

    Most rows of a large flow are zero; those features are left out.

    Args:
        log_scale: coefficients of 1 and h in the log scales (dim + 1, dim).
        shift: those in the shifts, likewise.
        stretch: coefficients of the products in the log scales (pairs, dim).
        bend: those in the shifts, likewise.

    Attributes:
        drivers: the coordinates whose h is a feature; None for all of them.
    """

    def __init__(
        self,
        log_scale: Float[Any, "rows dim"],
        shift: Float[Any, "rows dim"],
        stretch: Float[Any, "pairs dim"],
        bend: Float[Any, "pairs dim"],
    ):
        xp = namespace(log_scale, shift, stretch, bend)
        linear = xp.concatenate([log_scale, shift], axis=1)
        one, rest = linear[:1], linear[1:]
        many = xp is np and len(rest) > FEW
        self.drivers = np.flatnonzero(rest.any(axis=1)) if many else None
        self._first = 1 + len(stretch)
        products = xp.concatenate([stretch, bend], axis=1)
        self._matrix = xp.concatenate([one, products, rest[self.drivers] if many else rest])

    def through(
        self, marginal: Float[Any, "dim draws"], noise: Noise
    ) -> tuple[Float[Any, "dim draws"], Float[Any, "dim draws"]]:
        """Return the log scales and the shifts."""
        both, dim = self._matrix.T @ features(marginal, noise, self.drivers), len(marginal)
        return both[:dim], both[dim:]

    def pulled(self, layers: Layers, white: Float[Any, "dim draws"]) -> Pulled:
        """Return the gradients, from that of log p with respect to x."""
        both = _stacked(white, layers.spread)
        wide = white * layers.width
        back = self._matrix[1:] @ both
        products, marginal = back[: self._first - 1], back[self._first - 1 :]
        if self.drivers is None:
            marginal += wide
        else:
            some, marginal = marginal, wide.copy()
            marginal[self.drivers] += some
        return Pulled(both, products, wide, marginal)


def features(
    marginal: Float[Any, "dim draws"], noise: Noise, drivers: np.ndarray | None
) -> Float[Any, "features draws"]:
    """Return what log scales and shifts are linear in: 1, the products, and h of some."""
    some = marginal if drivers is None else marginal[drivers]
    return namespace(some, noise.products).concatenate([noise.products, some])


def _stacked(white: Any, spread: Any) -> Any:
    """Return the gradients with respect to log scales and shifts, from those with respect to x."""
    if namespace(white, spread) is not np:
        return jnp.concatenate([white * spread + 1.0, white])
    dim, draws = white.shape
    both = np.empty((2 * dim, draws))
    np.multiply(white, spread, out=both[:dim])
    both[:dim] += 1.0
    both[dim:] = white
    return both


def product(first: Any, second: Any, same: Any) -> Any:
    """Return the Hermite polynomial of a pair of noise: mean zero, variance one, uncorrelated."""
    return (first * second - same) * product_scale(same)


def product_scale(same: Any) -> Any:
    """Return what a product of a pair is multiplied by to have variance one."""
    return 1.0 - same * (1.0 - 0.5**0.5)


def sum_of_logs(values: Float[Any, "rows draws"]) -> Float[Any, " draws"]:
    """Return the sums over rows of the logarithms of positive numbers.

    Those of products of four, where they do not overflow: a logarithm takes long.
    """
    quarter = len(values) // 4
    if namespace(values) is np and quarter:
        products = values[:quarter] * values[quarter : 2 * quarter]
        products *= values[2 * quarter : 3 * quarter]
        products *= values[3 * quarter : 4 * quarter]
        total = np.log(products).sum(axis=0) + np.log(values[4 * quarter :]).sum(axis=0)
        if np.isfinite(total.sum()):
            return total
    return namespace(values).log(values).sum(axis=0)


def _arcsinh(value: Any, root: Any) -> Any:
    """Return arcsinh, with root = sqrt(1 + value^2); NumPy's own takes most of a flow's time."""
    if namespace(value) is np:
        return np.copysign(np.log(np.abs(value) + root), value)
    return jnp.arcsinh(value)
