"""A flow without neural networks: where and how wide a coordinate is depends on those before it.

In coordinates whitened by a Gaussian, `x_i = (h_i(e_i) + l_i) exp(s_i) + t_i`. The log scale `s_i`
and the shift `t_i` are quadratic in the noise before `i`; the lean `l_i` is a shift that shrinks
with the scale, as that of a group does with the sd of all groups. `h_i` is the sinh-arcsinh map,
which gives a marginal skewness and tails (Jones and Pewsey 2009, Biometrika 96). This is a
triangular transport map (Marzouk, Moselhy, Parno and Spantini 2016, arXiv 1602.05023): its Jacobian
is triangular and its inverse explicit. Models name parents before children, so the neck of a funnel
stands before what it scales.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Float, Int

from taut._core.modules import module
from taut._core.namespace import match_dtype, namespace, solve_lower
from taut.guides.flow_layers import (
    Coefficients,
    Layers,
    Noise,
    Pairs,
    Pulled,
    product,
    sum_of_logs,
)
from taut.guides.full_rank import FullRankNormal
from taut.guides.guide import LatentGuide, standard_log_prob
from taut.guides.noise import matched_noise

# Fixed draws that the moments, which have no short closed form, are taken from; and the ranks of
# those that marginals are read off at: all far out, and enough between.
MOMENT_DRAWS = 8192
_ALL, _EACH = 64, 16
MARKS = np.r_[0:_ALL, _ALL : MOMENT_DRAWS - _ALL : _EACH, MOMENT_DRAWS - _ALL : MOMENT_DRAWS]

# Many draws are made in blocks of about so many numbers, whose pieces stay in the cache.
BLOCK = 2**14


@dataclasses.dataclass(frozen=True)
class _Marginals:
    """Mean and sd of each coordinate (dim,), and its draws (dim, draws), which are sorted later."""

    mean: Float[Any, " dim"]
    sd: Float[Any, " dim"]
    draws: Float[Any, "dim draws"]

    @functools.cached_property
    def marks(self) -> Float[Any, "dim marks"]:
        """Draws of each coordinate of the ranks `MARKS`."""
        return namespace(self.draws).sort(self.draws.copy(), axis=1)[:, MARKS]


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """What of the map is the same at all noise.

    Attributes:
        coefficients: of the log scales and the shifts.
        indices: which noise each product is made of (pairs, 2).
        weight: tail weights (dim, 1).
        offset: what the angle is at noise of zero, less log 2 (dim, 1).
        lean: shifts that are multiplied by the scale (dim, 1).
        log_det: the part of the Jacobian's logarithm that is the same everywhere.
    """

    coefficients: Coefficients
    indices: Int[Any, "pairs 2"]
    weight: Float[Any, "dim 1"]
    offset: Float[Any, "dim 1"]
    lean: Float[Any, "dim 1"]
    log_det: Float[Any, ""]

    @classmethod
    def of(cls, flow: "TriangularFlow") -> "_Fixed":
        xp = flow._namespace
        weight = xp.exp(flow.tail)
        return cls(
            Coefficients(flow.log_scale, flow.shift, flow.stretch, flow.bend),
            flow.pairs,
            weight[:, None],
            (flow.skew * weight - np.log(2.0))[:, None],
            flow.lean[:, None],
            (xp.log(xp.diagonal(flow.scale_tril)) + flow.tail).sum(),
        )

    @functools.cached_property
    def pairs(self) -> Pairs:
        """The same, with what products are made by; not needed where noise is prepared."""
        return Pairs(self.indices, len(self.weight))


@module()
class TriangularFlow(LatentGuide):
    """The law of loc + scale_tril x, x made of noise one coordinate after the other.

    Attributes:
        loc: centre of the Gaussian it bends (dim,).
        scale_tril: lower Cholesky factor of that Gaussian's covariance (dim, dim).
        log_scale: coefficients of the log scale of each coordinate; row 0 is constant, row j + 1
            belongs to h_j and is zero for coordinates up to j (dim + 1, dim).
        shift: those of the shift, likewise (dim + 1, dim).
        pairs: which noise each product is made of (pairs, 2).
        bend: coefficients of the products in the shifts, zero for coordinates up to either of the
            pair (pairs, dim).
        stretch: those in the log scales, likewise (pairs, dim).
        lean: shifts that are multiplied by the scale (dim,).
        skew: asymmetry of each marginal, 0 for none (dim,).
        tail: logarithm of each marginal's tail weight, 0 for a normal's (dim,).
    """

    loc: Float[Any, " dim"]
    scale_tril: Float[Any, "dim dim"]
    log_scale: Float[Any, "rows dim"]
    shift: Float[Any, "rows dim"]
    pairs: Int[Any, "pairs 2"]
    bend: Float[Any, "pairs dim"]
    stretch: Float[Any, "pairs dim"]
    lean: Float[Any, " dim"]
    skew: Float[Any, " dim"]
    tail: Float[Any, " dim"]
    name = "flow"

    @classmethod
    def around(cls, gaussian: FullRankNormal) -> "TriangularFlow":
        """Return the flow that is a given Gaussian."""
        dim = gaussian.dim
        rows = np.zeros((dim + 1, dim))
        pairs, bend, zero = np.zeros((0, 2), int), np.zeros((0, dim)), np.zeros(dim)
        loc, scale_tril = np.asarray(gaussian.loc), np.asarray(gaussian.scale_tril)
        return cls(loc, scale_tril, rows, rows, pairs, bend, bend, zero, zero, zero)

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return self.loc.shape[-1]

    @property
    def noise_dim(self) -> int:
        """How many standard normal numbers make one draw: `dim`."""
        return self.dim

    def prepared(self, noise: Float[Any, "draws dim"] | Noise) -> Noise:
        """Return noise with what of the map depends on it and on `pairs` alone."""
        pairs = self._fixed.pairs
        return noise.paired(pairs) if isinstance(noise, Noise) else Noise.of(noise, pairs)

    def layers(self, noise: Float[Any, "draws dim"] | Noise) -> Layers:
        """Return the pieces of the map at some noise, which may have been prepared."""
        noise = noise if isinstance(noise, Noise) else self.prepared(noise)
        xp, fixed = namespace(noise.value, self.loc), self._fixed
        exponent = noise.arcsinh * fixed.weight
        exponent += fixed.offset
        upper = xp.exp(exponent)
        lower = 0.25 / upper
        marginal, cosh = upper - lower, upper + lower
        log_scale, shift = fixed.coefficients.through(marginal, noise)
        width = xp.exp(log_scale)
        spread = (marginal + fixed.lean) * width
        x = spread + shift
        weight = fixed.weight
        return Layers(noise, weight, exponent, marginal, cosh, log_scale, width, spread, x)

    def transform(self, noise: Float[Any, "*draws dim"]) -> Float[Any, "*draws dim"]:
        """Return draws made of standard normal noise."""
        xp, flat = namespace(noise, self.loc), noise.reshape(-1, self.dim)
        z = xp.concatenate([self.place(layers) for layers in self.in_blocks(flat)])
        return match_dtype(z.reshape(noise.shape), noise)

    def place(self, layers: Layers) -> Float[Any, "draws dim"]:
        """Return the draws whose layers are known."""
        return self.loc + layers.x.T @ self.scale_tril.T

    def log_det(self, noise: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
        """Return the logarithm of the Jacobian's determinant."""
        layers = self.layers(noise.reshape(-1, self.dim))
        return match_dtype(self.log_det_of(layers).reshape(noise.shape[:-1]), noise)

    def log_det_of(self, layers: Layers) -> Float[Any, " draws"]:
        """Return the logarithm of the Jacobian's determinant where the layers are known."""
        own = layers.log_scale.sum(axis=0) + sum_of_logs(layers.steepness)
        return own + self._fixed.log_det

    def pull(self, layers: Layers, gradients: Float[Any, "draws dim"]) -> Float[Any, "draws dim"]:
        """Return the gradient with respect to noise of log p(transform(noise)) + log_det(noise).

        Args:
            layers: the map at the noise.
            gradients: of log p with respect to the latent vectors there.
        """
        pulled = self.pulled(layers, self.whitened(gradients))
        result = pulled.marginal * layers.slope
        result += layers.log_slope_gradient
        if len(self.pairs):
            result = self._fixed.pairs.add_back(result, pulled.products, layers.noise)
        return result.T.copy()

    def whitened(self, gradients: Float[Any, "draws dim"]) -> Float[Any, "dim draws"]:
        """Return gradients with respect to x, from those with respect to latent vectors."""
        return self.scale_tril.T @ gradients.T

    def pulled(self, layers: Layers, white: Float[Any, "dim draws"]) -> Pulled:
        """Return the gradients with respect to the pieces of the map.

        Args:
            layers: the map at the noise.
            white: gradients of log p with respect to x there.
        """
        return self._fixed.coefficients.pulled(layers, white)

    def inverse(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws dim"]:
        """Return the noise that latent vectors are made of."""
        xp = namespace(z, self.loc)
        centred = (z - self.loc).reshape(-1, self.dim)
        x = solve_lower(self.scale_tril, centred.T).copy()
        log_scale = xp.zeros_like(x) + self.log_scale[0][:, None]
        shift = xp.zeros_like(x) + self.shift[0][:, None]
        pairs, filled = np.asarray(self.pairs), set(range(self.dim))
        if namespace(self.log_scale, self.shift) is np:
            linear = np.hstack([self.log_scale[1:], self.shift[1:]])
            filled = set(np.flatnonzero(linear.any(axis=1)).tolist())
        rows: list[Any] = []
        for i in range(self.dim):
            marginal = (x[i] - shift[i]) * xp.exp(-log_scale[i]) - self.lean[i]
            angle = xp.arcsinh(marginal)
            rows.append(xp.sinh(angle * xp.exp(-self.tail[i]) - self.skew[i]))
            if i in filled:
                log_scale = log_scale + marginal * self.log_scale[i + 1][:, None]
                shift = shift + marginal * self.shift[i + 1][:, None]
            for row in np.flatnonzero(pairs.max(axis=1, initial=-1) == i):
                j, k = pairs[row]
                bent = product(rows[j], rows[k], j == k)
                log_scale = log_scale + bent * self.stretch[row][:, None]
                shift = shift + bent * self.bend[row][:, None]
        return match_dtype(xp.stack(rows, axis=1).reshape(z.shape), z)

    def draw(
        self, count: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "count dim"], Float[np.ndarray, " count"]]:
        """Return draws and their log densities, which need no inverse."""
        noise = rng.standard_normal((count, self.dim))
        made = [(self.place(block), self.log_det_of(block)) for block in self.in_blocks(noise)]
        z, log_det = (np.concatenate(parts) for parts in zip(*made, strict=True))
        return z, standard_log_prob(noise) - log_det

    def log_prob(self, z: Float[Any, "*draws dim"]) -> Float[Any, "*draws"]:
        """Return the normalised log density at latent vectors."""
        noise = self.inverse(z)
        return match_dtype(standard_log_prob(noise) - self.log_det(noise), z)

    def mean(self) -> Float[Any, " dim"]:
        """Return the mean of each latent coordinate, over 8192 fixed draws."""
        return self._marginals.mean

    def sd(self) -> Float[Any, " dim"]:
        """Return the standard deviation of each latent coordinate, over 8192 fixed draws."""
        return self._marginals.sd

    def scorer(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the map of latent vectors (n, dim) to normal scores under each marginal.

        Standard deviations of heavy tails are mostly noise; ranks are not (Vehtari and others 2021,
        Bayesian Analysis 16).
        """
        marks = np.asarray(self._marginals.marks)
        scores = scipy.special.ndtri((MARKS + 0.5) / MOMENT_DRAWS)

        def score(z: np.ndarray) -> np.ndarray:
            columns = zip(z.T, marks, strict=True)
            return np.stack([np.interp(column, mark, scores) for column, mark in columns], axis=1)

        return score

    @functools.cached_property
    def _marginals(self) -> "_Marginals":
        noise = matched_noise(MOMENT_DRAWS, self.dim, np.random.default_rng(0))
        xp = namespace(self.loc)
        blocks = self.in_blocks(xp.asarray(noise, dtype=self.loc.dtype))
        draws = xp.concatenate([self.scale_tril @ layers.x for layers in blocks], axis=1)
        draws += self.loc[:, None]
        return _Marginals(draws.mean(axis=1), draws.std(axis=1), draws)

    def in_blocks(self, noise: Float[Any, "draws dim"]) -> Iterator[Layers]:
        """Return the layers of so few draws after the other that they stay in the cache."""
        rows = max(1, BLOCK // self.dim)
        return (self.layers(noise[i : i + rows]) for i in range(0, max(len(noise), 1), rows))

    @property
    def _fixed(self) -> _Fixed:
        # That of a trace must not be kept.
        return self._kept if self._namespace is np else _Fixed.of(self)

    @functools.cached_property
    def _kept(self) -> _Fixed:
        return _Fixed.of(self)

    @property
    def _namespace(self) -> Any:
        leaves = (getattr(self, field.name) for field in dataclasses.fields(self))
        return namespace(*leaves)

    def __getstate__(self) -> dict[str, Any]:
        # What is kept can be made again.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
