"""Where to start: several ascents of the log density, and a Gaussian for each.

Candidates are taken along the whole of each path, not only at its end: the mode of a hierarchical
posterior can be far from its mass. Each is scored by its ELBO on a few common draws. The idea is
Pathfinder's (Zhang, Carpenter, Gelman and Vehtari 2022, JMLR 23), with several starts in lock step.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from taut._core.errors import InputError
from taut.guides.full_rank import FullRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.noise import matched_noise
from taut.loop.monitor import Monitor, OutOfTime
from taut.solvers.ascent import MOST_STEPS, Ascents, PathPoint
from taut.solvers.tempering import anneal

RADIUS = 2.0
SHRINKS = 6
CANDIDATES_PER_PATH = 12
WIDE_RADII = (4.0, 16.0)
FAR_AROUND = 15.0
WIDE_STEPS, WIDE_CANDIDATES = 30, 2
TEMPERED_POINTS, TEMPERED_STARTS, TEMPERED_AROUND = 256, 96, 10.0
SCORING_DRAWS = 16
LARGEST_FULL_RANK = 256
CHECK_EVERY = 15
SPIKE_DROP = 5.0


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A Gaussian near one path.

    Attributes:
        path: which start it came from.
        elbo: its ELBO on a few draws.
        guide: full rank, or mean field in high dimension.
    """

    path: int
    elbo: float
    guide: Any


class NoFiniteStart(InputError):
    """Every point tried has a log density that is not finite."""


def default_starts(dim: int) -> int:
    """How many ascents to run: more where they are cheap."""
    return 8 if dim <= 50 else 4


def draw_starts(
    monitor: Monitor,
    dim: int,
    count: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "starts dim"]:
    """Return starting points of finite log density: zero, and uniform draws around it.

    Args:
        monitor: the watched batch function.
        dim: number of latent coordinates.
        count: how many.
        rng: source of the draws.

    Raises:
        NoFiniteStart: no finite point was found in shrinking boxes around zero.
    """
    starts = rng.uniform(-RADIUS, RADIUS, (count, dim))
    starts[0] = 0.0
    radius = RADIUS
    for _ in range(SHRINKS):
        values, _ = monitor(starts)
        bad = ~np.isfinite(values)
        if not bad.any():
            return starts
        radius /= 2
        starts[bad] = rng.uniform(-radius, radius, (int(bad.sum()), dim))
    values, _ = monitor(starts)
    good = np.isfinite(values)
    if not good.any():
        raise NoFiniteStart("every start has a log density that is not finite")
    return starts[good]


def wide_starts(
    monitor: Monitor, dim: int, count: int, rng: np.random.Generator, around: Any = None
) -> Float[np.ndarray, "starts dim"]:
    """Return starts far from where the first ones are, of finite log density.

    From a wide box, a very wide one, and, where a Gaussian is known, from far around it in its own
    units: modes can be far apart on either scale.

    Args:
        monitor: the watched batch function.
        dim: number of latent coordinates.
        count: how many to draw; fewer are returned.
        rng: source of the draws.
        around: the Gaussian, or None.
    """
    parts = len(WIDE_RADII) + (around is not None)
    starts = [rng.uniform(-r, r, (count // parts, dim)) for r in WIDE_RADII]
    if around is not None:
        noise = rng.standard_normal((count // parts, around.noise_dim))
        starts.append(around.mean() + FAR_AROUND * (around.transform(noise) - around.mean()))
    drawn = np.concatenate(starts)
    values, _ = monitor(drawn)
    return drawn[np.isfinite(values)]


def tempered_starts(
    monitor: Monitor, around: FullRankNormal, rng: np.random.Generator
) -> Float[np.ndarray, "starts dim"]:
    """Return points that gathered where the mass is, as its density was slowly made out.

    Args:
        monitor: the watched batch function.
        around: the best Gaussian so far; they come from far around it, and from far around zero.
        rng: source of the randomness.
    """
    near, far = around.scale_tril @ around.scale_tril.T, np.eye(around.dim)
    factor = np.linalg.cholesky(TEMPERED_AROUND**2 * near + WIDE_RADII[0] ** 2 * far)
    points = anneal(monitor, FullRankNormal(around.loc, factor), TEMPERED_POINTS, rng)
    return points[:: max(1, -(-len(points) // TEMPERED_STARTS))]


def search(
    monitor: Monitor,
    starts: Float[np.ndarray, "starts dim"],
    rng: np.random.Generator,
    wide: Float[np.ndarray, "wide dim"] | None = None,
) -> list[Candidate]:
    """Run the ascents and return the best candidate of each path, best first.

    Args:
        monitor: the watched batch function.
        starts: where to start.
        rng: source of the draws that candidates are scored by.
        wide: starts far out. They climb beside the others, for as long as those do or a few steps
            more, and few points of each are scored: they need not arrive, only show where to look.

    Raises:
        OutOfTime, KeyboardInterrupt: as they came; the monitor holds the best candidate so far.
    """
    first = len(starts)
    starts = starts if wide is None else np.concatenate([starts, wide])
    ascents = Ascents(monitor, starts)
    spikes = _SpikeWatch(len(starts))
    stopped: BaseException | None = None
    try:
        for number in range(1, MOST_STEPS + 1):
            enough = number > WIDE_STEPS and not ascents.active[:first].any()
            if enough or not ascents.active.any():
                break
            ascents.step()
            if number % CHECK_EVERY == 0 and starts.shape[1] <= LARGEST_FULL_RANK:
                spikes.retire(ascents)
            monitor.progress.update(
                "start search",
                log_density=float(-ascents.loss.min()),
                gradients=monitor.gradients,
            )
    except (OutOfTime, KeyboardInterrupt) as stop:
        stopped, monitor.deadline = stop, None  # what was found is scored all the same
    if starts.shape[1] <= LARGEST_FULL_RANK:
        proposals = _gaussians(ascents, starts, first)
    else:
        proposals = _diagonals(monitor, ascents, rng)
    # Kept in case the scoring is interrupted: the last Gaussian of the path that climbed highest.
    highest = ascents.loss.argmin()
    monitor.best = [guide for path, guide in proposals if path == highest][-1]
    candidates = _score(monitor, proposals, rng)
    monitor.best = candidates[0].guide
    if stopped is not None:
        raise stopped
    return candidates


class _SpikeWatch:
    """Retires paths that climb into a spike: density rises while the mass around it vanishes.

    The neck of a funnel has no mode to arrive at. Log density plus half the log determinant of the
    inverse Hessian is Laplace's estimate of the mass nearby. Where on some path it has been well
    below its own best at two checks in a row there is a spike: that path is not followed further,
    nor are those on which it is below now. Their points stay candidates.
    """

    def __init__(self, paths: int):
        self._best = np.full(paths, -np.inf)
        self._below = np.zeros(paths, int)

    def retire(self, ascents: Ascents) -> None:
        """Stop the paths whose nearby mass keeps falling."""
        rows = [row for row in np.flatnonzero(ascents.active).tolist() if ascents.length(row)]
        if not rows:
            return
        points = [ascents.point(row, -1) for row in rows]
        _, log_dets = np.linalg.slogdet(_inverse_hessians(points))
        for row, point, log_det in zip(rows, points, log_dets, strict=True):
            mass = point.log_density + 0.5 * log_det
            self._best[row] = max(self._best[row], mass)
            fallen = mass < self._best[row] - SPIKE_DROP
            self._below[row] = self._below[row] + 1 if fallen else 0
        if self._below.max() >= 2:
            ascents.active[self._below >= 1] = False


def _gaussians(
    ascents: Ascents, starts: np.ndarray, first: int
) -> list[tuple[int, FullRankNormal]]:
    points = [
        (path, ascents.point(path, number))
        for path in range(len(starts))
        for number in _thin(
            ascents.length(path), CANDIDATES_PER_PATH if path < first else WIDE_CANDIDATES
        )
    ]
    proposals = []
    if points:
        covariances = _inverse_hessians([point for _, point in points])
        for (path, point), covariance in zip(points, covariances, strict=True):
            scale_tril = _cholesky(covariance)
            if scale_tril is None:
                continue
            newton = point.position - covariance @ point.gradient
            proposals.append((path, FullRankNormal(newton, scale_tril)))
            proposals.append((path, FullRankNormal(point.position, scale_tril)))
    reached = {path for path, _ in proposals}
    dim = starts.shape[1]
    for path, start in enumerate(starts):
        if path not in reached:
            proposals.append((path, FullRankNormal(start, 0.1 * np.eye(dim))))
    return proposals


def _thin(length: int, count: int) -> list[int]:
    """Return up to `count` points of a path: the last three, and others spread along it."""
    spread = np.linspace(0, length - 1, max(count - 3, 0)).round().astype(int)
    last = range(max(0, length - min(count, 3)), length)
    return sorted({*spread.tolist(), *last}) if length else []


def _inverse_hessians(points: Sequence[PathPoint]) -> np.ndarray:
    """Dense BFGS inverse Hessians (points, dim, dim) of the remembered pairs."""
    dim, memory = len(points[0].position), max(len(p.steps) for p in points)
    count = len(points)
    if memory == 0:
        return np.broadcast_to(1e-2 * np.eye(dim), (count, dim, dim)).copy()
    steps, changes = np.zeros((count, memory, dim)), np.zeros((count, memory, dim))
    scale = np.full(count, 1e-2)
    for i, point in enumerate(points):
        filled = len(point.steps)
        if filled:
            steps[i, memory - filled :], changes[i, memory - filled :] = point.steps, point.changes
            last = point.changes[-1]
            scale[i] = (point.steps[-1] @ last) / (last @ last)
    products = (steps * changes).sum(axis=2)
    inverse = np.where(products > 0, 1.0 / np.where(products > 0, products, 1.0), 0.0)
    hessian = scale[:, None, None] * np.eye(dim)
    for j in range(memory):
        step, weight = steps[:, j], inverse[:, j]
        image = np.einsum("nij,nj->ni", hessian, changes[:, j])
        curvature = (changes[:, j] * image).sum(axis=1)
        growth = weight * (1.0 + weight * curvature)
        # What is added is half of step' other + other' step.
        other = growth[:, None] * step - 2.0 * weight[:, None] * image
        half = step[:, :, None] * (0.5 * other)[:, None, :]
        hessian += half + half.transpose(0, 2, 1)
    return hessian


def _cholesky(covariance: np.ndarray) -> np.ndarray | None:
    dim = len(covariance)
    jitter = 1e-12 * np.trace(covariance) / dim
    try:
        return np.linalg.cholesky(covariance + jitter * np.eye(dim))
    except np.linalg.LinAlgError:
        return None


def _diagonals(
    monitor: Monitor, ascents: Ascents, rng: np.random.Generator
) -> list[tuple[int, MeanFieldNormal]]:
    """Mean-field Gaussians at the paths' ends, curvatures by random finite differences."""
    proposals = []
    for path, end in enumerate(ascents.position):
        signs = rng.choice([-1.0, 1.0], size=(64, len(end)))
        nudge = 1e-3 * (1.0 + np.abs(end))
        _, up = monitor(end + signs * nudge)
        _, down = monitor(end - signs * nudge)
        # Hutchinson's estimate of the diagonal: the mean of v * (H v) over random signs v.
        curvature = -(signs * (up - down)).mean(axis=0) / (2.0 * nudge)
        scale = 1.0 / np.sqrt(np.maximum(curvature, 1e-2))
        proposals.append((path, MeanFieldNormal(end.copy(), scale)))
    return proposals


def _score(
    monitor: Monitor,
    proposals: Sequence[tuple[int, Any]],
    rng: np.random.Generator,
) -> list[Candidate]:
    noise = matched_noise(SCORING_DRAWS, proposals[0][1].dim, rng)
    values, _ = monitor(np.concatenate([guide.transform(noise) for _, guide in proposals]))
    values = np.where(np.isfinite(values), values, -1e12).reshape(len(proposals), -1)
    best: dict[int, Candidate] = {}
    for (path, guide), value in zip(proposals, values.mean(axis=1), strict=True):
        elbo = float(value + guide.entropy())
        if path not in best or elbo > best[path].elbo:
            best[path] = Candidate(path, elbo, guide)
    return sorted(best.values(), key=lambda c: -c.elbo)
