"""Many L-BFGS ascents of a log density at once.

All paths take their step together, so one call of the compiled batch serves them all. The paths are
not run to the modes: what is wanted is where the mass is, and every point of a path is a candidate.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from taut.objectives.matched_elbo import Batch

MEMORY = 10
ARMIJO = 1e-4
MOST_STEPS = 150
SMALL = 0.1
FAILURES = 12


@dataclasses.dataclass(frozen=True)
class PathPoint:
    """One accepted point of an ascent.

    Attributes:
        position: latent vector (dim,).
        gradient: gradient of minus the log density (dim,).
        steps: remembered steps (n, dim), oldest first.
        changes: the matching changes of the gradient (n, dim).
        log_density: log density there.
    """

    position: np.ndarray
    gradient: np.ndarray
    steps: np.ndarray
    changes: np.ndarray
    log_density: float


@dataclasses.dataclass(frozen=True)
class _Points:
    """Points that several paths accepted in one step; few of them are ever looked at.

    Attributes:
        position: latent vectors (paths, dim).
        gradient: gradients of minus the log density (paths, dim).
        steps: remembered steps (paths, MEMORY, dim).
        changes: the matching changes of the gradient (paths, MEMORY, dim).
        log_density: log densities there (paths,).
        firsts: from which of the remembered ones on they are filled (paths,).
    """

    position: np.ndarray
    gradient: np.ndarray
    steps: np.ndarray
    changes: np.ndarray
    log_density: np.ndarray
    firsts: np.ndarray

    def at(self, row: int) -> PathPoint:
        """Return the point of one of the paths."""
        first = self.firsts[row]
        return PathPoint(
            self.position[row],
            self.gradient[row],
            self.steps[row, first:],
            self.changes[row, first:],
            self.log_density[row],
        )


class Ascents:
    """The state of all paths; `step` moves every active one.

    Args:
        batch: batched log density and gradient.
        starts: starting points (paths, dim), all of finite density.
    """

    @np.errstate(over="ignore", invalid="ignore")
    def __init__(self, batch: Batch, starts: Float[np.ndarray, "paths dim"]):
        paths, dim = starts.shape
        self._batch = batch
        values, gradients = batch(starts)
        self.position = starts.astype(float)
        self.loss, self.gradient = -values, -gradients
        self.active = np.isfinite(self.loss)
        # For each path the copies that were made of all paths' points, and its row in them.
        self._history: list[list[tuple[_Points, int]]] = [[] for _ in range(paths)]
        self._steps = np.zeros((paths, MEMORY, dim))
        self._changes = np.zeros((paths, MEMORY, dim))
        self._inverse = np.zeros((paths, MEMORY))
        self._filled = np.zeros(paths, int)
        self._small = np.zeros(paths, int)
        self._failures = np.zeros(paths, int)
        self._size = np.ones(paths)
        self._direction = self._steepest(np.arange(paths))

    @np.errstate(over="ignore", invalid="ignore")
    def step(self) -> None:
        """Try one step on every active path; accepted or not, each costs one row of the batch."""
        rows = np.flatnonzero(self.active)
        trial = self.position[rows] + self._size[rows, None] * self._direction[rows]
        values, gradients = self._batch(trial)
        slope = (self.gradient[rows] * self._direction[rows]).sum(axis=1)
        bound = self.loss[rows] + ARMIJO * self._size[rows] * slope
        accepted = -values <= bound
        self._reject(rows[~accepted], np.isfinite(values[~accepted]))
        self._accept(rows[accepted], trial[accepted], -values[accepted], -gradients[accepted])

    def _accept(
        self, rows: np.ndarray, position: np.ndarray, loss: np.ndarray, gradient: np.ndarray
    ) -> None:
        if len(rows) == 0:
            return
        step, change = position - self.position[rows], gradient - self.gradient[rows]
        product = (step * change).sum(axis=1)
        lengths = np.sqrt((step**2).sum(axis=1) * (change**2).sum(axis=1))
        curved = product > 1e-10 * lengths
        keep = rows[curved]
        for memory, new in ((self._steps, step[curved]), (self._changes, change[curved])):
            memory[keep, :-1] = memory[keep, 1:]
            memory[keep, -1] = new
        self._inverse[keep, :-1] = self._inverse[keep, 1:]
        self._inverse[keep, -1] = 1.0 / product[curved]
        self._filled[keep] = np.minimum(self._filled[keep] + 1, MEMORY)

        decrease = self.loss[rows] - loss
        self.position[rows], self.loss[rows], self.gradient[rows] = position, loss, gradient
        self._failures[rows] = 0
        self._size[rows] = 1.0
        self._direction[rows] = self._newton(rows)
        predicted = -0.5 * (gradient * self._direction[rows]).sum(axis=1)
        uphill = rows[~(predicted > 0)]
        if len(uphill):
            self._forget(uphill)
            self._direction[uphill] = self._steepest(uphill)
        small = (decrease < SMALL) & (predicted < SMALL)
        self._small[rows] = np.where(small, self._small[rows] + 1, 0)
        self.active[rows[self._small[rows] >= 2]] = False
        self._remember(rows)

    def _reject(self, rows: np.ndarray, finite: np.ndarray) -> None:
        self._failures[rows] += 1
        self._size[rows] *= np.where(finite, 0.5, 0.1)
        stuck = rows[self._failures[rows] > FAILURES]
        for row in stuck:
            if self._filled[row] and self._small[row] < 1:
                self._forget(np.array([row]))
                self._direction[row] = self._steepest(np.array([row]))[0]
                self._size[row], self._failures[row] = 1e-3, 0
                self._small[row] += 1
            else:
                self.active[row] = False

    def _forget(self, rows: np.ndarray) -> None:
        self._inverse[rows] = 0.0
        self._filled[rows] = 0

    def _steepest(self, rows: np.ndarray) -> np.ndarray:
        gradient = self.gradient[rows]
        return -gradient / np.maximum(1.0, np.linalg.norm(gradient, axis=1, keepdims=True))

    def _newton(self, rows: np.ndarray) -> np.ndarray:
        first = MEMORY - self._filled[rows].max(initial=0)
        steps, changes = self._steps[rows, first:], self._changes[rows, first:]
        inverse = self._inverse[rows, first:]
        result = self.gradient[rows]
        pairs, weights = range(MEMORY - first), np.zeros_like(inverse)
        for i in reversed(pairs):  # a forgotten pair has inverse zero and no effect
            weights[:, i] = inverse[:, i] * np.einsum("ij,ij->i", steps[:, i], result)
            result -= weights[:, i, None] * changes[:, i]
        if not pairs:
            return -result
        last = (changes[:, -1] ** 2).sum(axis=1)
        scale = np.where(inverse[:, -1] > 0, 1.0 / np.maximum(inverse[:, -1] * last, 1e-300), 1.0)
        result *= scale[:, None]
        for i in pairs:
            weight = inverse[:, i] * np.einsum("ij,ij->i", changes[:, i], result)
            result += steps[:, i] * (weights[:, i] - weight)[:, None]
        return -result

    def _remember(self, rows: np.ndarray) -> None:
        """Add where the paths are to their histories."""
        arrays = (self.position, self.gradient, self._steps, self._changes, -self.loss)
        points = _Points(*(array[rows] for array in arrays), firsts=MEMORY - self._filled[rows])
        for row, path in enumerate(rows.tolist()):
            self._history[path].append((points, row))

    def length(self, path: int) -> int:
        """Return how many points a path has accepted."""
        return len(self._history[path])

    def point(self, path: int, number: int) -> PathPoint:
        """Return one of the points that a path has accepted, in their order."""
        points, row = self._history[path][number]
        return points.at(row)
