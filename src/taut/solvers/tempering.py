"""Annealing many points from a wide Gaussian to a log density, to see where its mass is.

The density goes from the Gaussian r to the target p along r^(1 - b) p^b. At each temperature points
are resampled by their weights and moved by short Hamiltonian Monte Carlo (sequential Monte Carlo
samplers: Del Moral, Doucet, Jasra 2006; Neal, "Annealed importance sampling", 2001). Where an
ascent ends depends on the slope at its start; where points gather here depends on mass. Steps are
of all lengths, since a few short moves cannot adapt to modes far narrower than the points' spread.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from taut.guides.full_rank import FullRankNormal

# Weights of one temperature keep this share of the points effective.
KEPT = 0.9
MOST_TEMPERATURES = 60
MOVES, LEAPFROG = 5, 3

# Lengths of steps in units of the points' spread, for each point at each move anew.
SHORTEST, LONGEST = 2e-3, 0.7

Batch = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def anneal(
    batch: Batch, wide: FullRankNormal, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "count dim"]:
    """Return points that have gathered where the mass of a log density is.

    Args:
        batch: the target's log densities (n,) and gradients (n, dim); -inf where it has none.
        wide: where the points come from.
        count: how many points.
        rng: source of the randomness.
    """
    points = wide.transform(rng.standard_normal((count, wide.dim)))
    walkers = _Walkers(batch, wide, points, rng)
    for _ in range(MOST_TEMPERATURES):
        if walkers.power >= 1.0 or not walkers.cool():
            break
        for _ in range(MOVES):
            walkers.move()
    return walkers.points[np.isfinite(walkers.log_p)]


class _Walkers:
    """Points at one temperature, with both log densities and their gradients there."""

    def __init__(
        self, batch: Batch, wide: FullRankNormal, points: np.ndarray, rng: np.random.Generator
    ):
        self._batch, self._wide, self._rng = batch, wide, rng
        self.power = 0.0
        self._precision = np.linalg.inv(wide.scale_tril @ wide.scale_tril.T)
        self._set(points, self._at(points))

    def cool(self) -> bool:
        """Raise the target's power as far as the weights allow, and resample; False if stuck."""
        ratio = np.where(np.isfinite(self.log_p), self.log_p - self._log_r, -np.inf)
        if not np.isfinite(ratio).any():
            return False
        change = _next_change(ratio, 1.0 - self.power)
        self.power = min(1.0, self.power + change)
        weights = np.exp(change * (ratio - ratio.max()))
        kept = _systematic(weights / weights.sum(), self._rng)
        self.points, self.log_p, self._log_r = (
            a[kept] for a in (self.points, self.log_p, self._log_r)
        )
        self._slope_p, self._slope_r = self._slope_p[kept], self._slope_r[kept]
        return True

    def move(self) -> None:
        """Make one iteration of Hamiltonian Monte Carlo, whitened by the points' own spread."""
        spread = np.cov(self.points, rowvar=False).reshape(self._wide.dim, self._wide.dim)
        jitter = 1e-9 * np.trace(spread) + np.finfo(float).tiny
        factor = np.linalg.cholesky(spread + jitter * np.eye(len(spread)))
        lengths = self._rng.uniform(np.log(SHORTEST), np.log(LONGEST), (len(self.points), 1))
        step = np.exp(lengths)
        momentum = self._rng.standard_normal(self.points.shape)
        start = self._energy(self.log_p, self._log_r) - 0.5 * (momentum**2).sum(axis=1)
        points, state = self.points, (self.log_p, self._log_r, self._slope_p, self._slope_r)
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(LEAPFROG):
                momentum = momentum + 0.5 * step * self._slope(*state[2:]) @ factor
                points = points + step * momentum @ factor.T
                state = self._at(points)
                momentum = momentum + 0.5 * step * self._slope(*state[2:]) @ factor
            change = self._energy(*state[:2]) - 0.5 * (momentum**2).sum(axis=1) - start
        chance = np.exp(np.minimum(np.nan_to_num(change, nan=-np.inf), 0.0))
        taken = np.less(self._rng.uniform(size=len(chance)), chance)
        held = (self.log_p, self._log_r, self._slope_p, self._slope_r)
        both = zip(state, held, strict=True)
        mixed = [np.where(taken.reshape(-1, *(1,) * (new.ndim - 1)), new, old) for new, old in both]
        self._set(np.where(taken[:, None], points, self.points), mixed)

    def _at(self, points: np.ndarray) -> list[np.ndarray]:
        finite = np.isfinite(points).all(axis=1)
        safe = np.where(np.expand_dims(finite, 1), points, self._wide.mean())
        log_p, slope_p = self._batch(safe)
        slope_r = -(safe - self._wide.mean()) @ self._precision
        log_p = np.where(finite, log_p, -np.inf)
        return [log_p, self._wide.log_prob(safe), slope_p, slope_r]

    def _set(self, points: np.ndarray, state: list[np.ndarray]) -> None:
        self.points = points
        self.log_p, self._log_r, self._slope_p, self._slope_r = state

    def _energy(self, log_p: np.ndarray, log_r: np.ndarray) -> np.ndarray:
        return (1.0 - self.power) * log_r + self.power * log_p

    def _slope(self, slope_p: np.ndarray, slope_r: np.ndarray) -> np.ndarray:
        return (1.0 - self.power) * slope_r + self.power * slope_p


def _next_change(ratio: np.ndarray, most: float) -> float:
    """Return the change of power after which the share `KEPT` of the points is effective."""
    low, high = 0.0, most
    if _effective(most * ratio) >= KEPT:
        return most
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _effective(middle * ratio) >= KEPT else (low, middle)
    return high


def _effective(log_weights: np.ndarray) -> float:
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights))


def _systematic(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    places = (np.arange(len(weights)) + rng.uniform()) / len(weights)
    return np.minimum(np.searchsorted(np.cumsum(weights), places), len(weights) - 1)
