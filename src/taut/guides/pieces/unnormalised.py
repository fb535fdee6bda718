"""Fitting exp(f(z, phi)) / Z(phi) to a target, where Z is not known.

KL(q | p) needs log Z and means under q. Both are sums over points that do not move, weighted by
exp(f), so the objective is an ordinary function of phi with exact derivatives: on the nodes of a
quadrature in a box of one or two dimensions, and elsewhere on points of a heavy-tailed proposal
(self-normalised importance sampling). The first phi comes from score matching (Hyvärinen 2005),
which compares slopes and so needs no Z.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from taut._core.errors import InputError
from taut._core.resampling import resample
from taut._core.xla_options import OFTEN, cpu_options

# Nodes along each axis of a box; the second to see that the first were enough.
NODES = (80, 160)

# A change of log Z between the two that counts as none, in nats.
SAME = 1e-3

POINTS = 2**14

# Points drawn for each one that is kept, so that few are kept twice.
SPARE = 4

# Below this share of effective points the normaliser is not to be relied on.
FEWEST = 0.05

# The objective has no noise, so it is minimised to rounding.
PRECISE = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}

NOT_FINITE = (
    "the formula or the target is not finite on the points where the target has its mass; check "
    "both, and the first values of the parameters"
)

# Rounds of moving the proposal to where the weight is, and a move that ends them.
ROUNDS, SETTLED = 8, 1e-3


@dataclasses.dataclass(frozen=True)
class Points:
    """Points (n, dim) and the log of the volume each stands for (n,)."""

    z: np.ndarray
    log_volume: np.ndarray


@dataclasses.dataclass(frozen=True)
class Solution:
    """What was fitted.

    Attributes:
        phi: the parameters.
        log_normaliser: log Z.
        elbo: the evidence lower bound.
        effective: the share of effective points.
        points: where the sums were taken (n, dim).
        weights: of the points, which sum to one (n,).
        method: "quadrature" or "importance sampling".
        proposal: draws close to the formula, `(count, rng)` to points (count, dim) and the log of
            their density (count,).
    """

    phi: np.ndarray
    log_normaliser: float
    elbo: float
    effective: float
    points: np.ndarray
    weights: np.ndarray
    method: str
    proposal: Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]

    def draw(
        self, formula: Callable, count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw from the fitted formula, by importance resampling.

        Args:
            formula: the fitted formula at points (n, dim), not normalised.
            count: how many draws.
            rng: where they come from.

        Returns:
            Points (count, dim), and their normalised log density (count,).
        """
        z, log_r = self.proposal(SPARE * count, rng)
        log_q = np.asarray(formula(z)) - self.log_normaliser
        rows = resample(log_q - log_r, count, rng)
        return z[rows], log_q[rows]


def fit_in_box(f: Callable, log_p: Callable, phi: np.ndarray, box: np.ndarray) -> Solution:
    """Fit by Gauss-Legendre quadrature in a box (dim, 2) of one or two dimensions.

    Raises:
        InputError: twice the nodes give another normaliser, so the formula is too sharp for them.
    """
    solver = _Solver(f, log_p)
    points = [_box_points(box, n) for n in NODES]
    phi = solver.minimise(solver.kl, solver.start(phi, points[0]), points[0])
    first, second = (solver.solution(phi, p, "quadrature", _Cells(box)) for p in points)
    if not abs(first.log_normaliser - second.log_normaliser) < SAME:
        raise InputError(
            "the normaliser of this formula differs between "
            f"{NODES[0]} and {NODES[1]} quadrature nodes an axis; give sites without bounds, so "
            "that points are drawn where the formula has its mass"
        )
    return second


def fit_on_points(f: Callable, log_p: Callable, phi: np.ndarray, dim: int, seed: int) -> Solution:
    """Fit by self-normalised importance sampling on R^dim.

    Raises:
        InputError: too few points carry the weight.
    """
    solver = _Solver(f, log_p)
    proposal = _Proposal(np.zeros(dim), 4.0 * np.eye(dim))
    for _ in range(3):  # to where the target is
        points = proposal.points(seed)
        proposal = proposal.moved(points, solver.target_weights(points))
    points = proposal.points(seed)
    phi = solver.start(phi, points)
    for _ in range(ROUNDS):
        old = phi
        phi = solver.minimise(solver.kl, phi, points)
        weights = solver.weights(phi, points)[1]
        proposal = proposal.moved(points, 0.5 * (weights + solver.target_weights(points)))
        points = proposal.points(seed)
        if np.all(np.abs(phi - old) <= SETTLED * (1.0 + np.abs(old))):
            break
    # On some points KL has shallow minima of its own; a second start by score matching avoids them.
    phi = solver.start(phi, points)
    found = solver.solution(phi, points, "importance sampling", proposal)
    if not found.effective >= FEWEST:
        raise InputError(
            f"only {100 * found.effective:.2g}% of the points carry the weight of the formula, so "
            "its normaliser is not known; write it as a density with taut.guides.transformed or "
            "taut.guides.mixture"
        )
    return found


class _Solver:
    def __init__(self, f: Callable, log_p: Callable):
        def compiled(function: Callable) -> Callable:
            return jax.jit(function, compiler_options=cpu_options(OFTEN))

        self._formula, self._slopes = jax.vmap(f, (0, None)), jax.vmap(jax.grad(f), (0, None))
        self._f = compiled(self._formula)
        self._p = compiled(jax.vmap(jax.value_and_grad(log_p)))
        self.kl = compiled(jax.value_and_grad(self._kl))
        self.mismatch = compiled(jax.value_and_grad(self._mismatch))

    def _kl(self, phi: Any, z: Any, log_volume: Any, log_p: Any, slope: Any) -> Any:
        """KL(q | p) up to the constant log Z of the target."""
        energy = self._formula(z, phi)
        log_weight = energy + log_volume
        log_z = jnp.asarray(jax.nn.logsumexp(log_weight))
        weights = jnp.exp(log_weight - log_z)
        gap = jnp.asarray(jnp.where(weights > 0, energy - log_p, 0.0))
        return weights @ gap - log_z

    def _mismatch(self, phi: Any, z: Any, log_volume: Any, log_p: Any, slope: Any) -> Any:
        """Mean squared difference of slopes under the target."""
        weights = jnp.asarray(jax.nn.softmax(log_p + log_volume))
        return weights @ jnp.sum((self._slopes(z, phi) - slope) ** 2, axis=1)

    def start(self, phi: np.ndarray, points: Points) -> np.ndarray:
        """The better of the fits from the first parameters and from those of score matching."""
        matched = self.minimise(self.mismatch, phi, points)
        data = self._data(points)
        fits = [self.minimise(self.kl, v, points) for v in (phi, matched)]
        return min(fits, key=lambda v: float(self.kl(v, *data)[0]))

    def minimise(self, objective: Callable, phi: np.ndarray, points: Points) -> np.ndarray:
        """Minimise an objective, which gives its gradient too, over the parameters by L-BFGS."""
        data = self._data(points)

        def value(v: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = objective(v, *data)
            return float(loss), np.asarray(gradient)

        if not np.isfinite(value(phi)[0]):
            raise InputError(NOT_FINITE)
        return scipy.optimize.minimize(value, phi, jac=True, method="L-BFGS-B", options=PRECISE).x

    def target_weights(self, points: Points) -> np.ndarray:
        """Weights of the points under the target, which sum to one."""
        log_p = np.asarray(self._p(points.z)[0])
        if np.isnan(log_p).any() or not np.isfinite(log_p).any():
            raise InputError(NOT_FINITE)
        return scipy.special.softmax(log_p + points.log_volume)

    def weights(self, phi: np.ndarray, points: Points) -> tuple[float, np.ndarray]:
        """Log Z, and weights of the points under the formula, which sum to one."""
        log_weight = np.asarray(self._f(points.z, phi)) + points.log_volume
        log_z = float(np.logaddexp.reduce(log_weight))
        weights = np.exp(log_weight - log_z)
        return log_z, weights / weights.sum()

    def solution(
        self, phi: np.ndarray, points: Points, method: str, proposal: "_Cells | _Proposal"
    ) -> Solution:
        """What the parameters amount to on these points."""
        log_z, weights = self.weights(phi, points)
        elbo = -float(self.kl(phi, *self._data(points))[0])
        # A quadrature's nodes stand for different volumes; only draws can be few.
        effective = 1.0 / float(np.sum(weights**2) * len(weights))
        draw = functools.partial(proposal.draw, weights)
        return Solution(phi, log_z, elbo, effective, points.z, weights, method, draw)

    def _data(self, points: Points) -> tuple:
        return points.z, points.log_volume, *self._p(points.z)


def _box_points(box: np.ndarray, nodes: int) -> Points:
    unit, weights = np.polynomial.legendre.leggauss(nodes)
    centre, half = box.mean(axis=1), 0.5 * (box[:, 1] - box[:, 0])
    axes = np.meshgrid(*(c + h * unit for c, h in zip(centre, half, strict=True)), indexing="ij")
    volumes = np.meshgrid(*(np.log(h * weights) for h in half), indexing="ij")
    return Points(np.stack(axes, -1).reshape(-1, len(box)), np.sum(volumes, axis=0).ravel())


def _student_t(z: np.ndarray, mean: np.ndarray, shape: Any, freedom: Any) -> np.ndarray:
    return scipy.stats.multivariate_t.logpdf(z, mean, shape, freedom)


@dataclasses.dataclass(frozen=True)
class _Cells:
    """The nodes of a quadrature in a box (dim, 2), each spread over the cell that it stands for."""

    box: np.ndarray

    def draw(
        self, weights: np.ndarray, count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw points (count, dim), and give the log of their density (count,)."""
        dim = len(self.box)
        nodes = round(len(weights) ** (1.0 / dim))
        chosen = rng.choice(len(weights), count, p=weights)
        places = np.stack(np.unravel_index(chosen, (nodes,) * dim), -1)
        # The weights of Gauss and Legendre are the widths of cells with one node in each.
        widths = np.polynomial.legendre.leggauss(nodes)[1]
        low = np.concatenate([[0.0], np.cumsum(widths)])[:-1]
        half = 0.5 * (self.box[:, 1] - self.box[:, 0])
        z = self.box[:, 0] + half * (low[places] + widths[places] * rng.random((count, dim)))
        return z, np.log(weights[chosen]) - np.log(half * widths[places]).sum(axis=1)


@dataclasses.dataclass(frozen=True)
class _Proposal:
    """Half a StudentT with 3 degrees of freedom and 1.5 times the scale, half a Cauchy."""

    mean: np.ndarray
    covariance: np.ndarray

    def points(self, seed: int) -> Points:
        """Points spread evenly by a Sobol sequence."""
        sobol = scipy.stats.qmc.Sobol(len(self.mean) + 2, seed=seed)  # pyright: ignore[reportCallIssue]
        z, log_r = self._placed(sobol.random(POINTS))
        return Points(z, -log_r - np.log(POINTS))

    def draw(
        self, weights: np.ndarray, count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw points (count, dim), and give the log of their density (count,)."""
        return self._placed(rng.random((count, len(self.mean) + 2)))

    def _placed(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dim = len(self.mean)
        noise = scipy.stats.norm.ppf(np.clip(uniform[:, :dim], 1e-12, 1 - 1e-12))
        heavy = uniform[:, dim] < 0.5
        freedom = np.where(heavy, 1.0, 3.0)
        scale = np.where(heavy, 1.0, 1.5)
        stretch = scale * np.sqrt(freedom / scipy.stats.chi2.ppf(uniform[:, dim + 1], freedom))
        root = np.linalg.cholesky(self.covariance)
        z = self.mean + stretch[:, None] * (noise @ root.T)
        densities = [
            _student_t(z, self.mean, s**2 * self.covariance, nu) for nu, s in ((1, 1.0), (3, 1.5))
        ]
        return z, np.logaddexp(*densities) - np.log(2.0)

    def moved(self, points: Points, weights: np.ndarray) -> "_Proposal":
        """The proposal around weighted points; quantiles, as heavy tails have no moments."""
        order = np.argsort(points.z, axis=0)
        levels = np.cumsum(weights[order], axis=0)
        low, middle, high = (
            np.array([points.z[order[np.searchsorted(c, q), k], k] for k, c in enumerate(levels.T)])
            for q in (0.16, 0.5, 0.84)
        )
        half = np.maximum(0.5 * (high - low), 1e-8)
        clipped = np.clip((points.z - middle) / half, -5.0, 5.0)
        correlated = (weights[:, None] * clipped).T @ clipped
        spread = np.sqrt(np.diag(correlated))
        shape = 0.98 * correlated / np.outer(spread, spread) + 0.02 * np.eye(len(half))
        return _Proposal(middle, shape * np.outer(half, half))
