"""Hamiltonian Monte Carlo on many chains in lock step."""

import dataclasses

import numpy as np

from taut.guides.full_rank import FullRankNormal
from taut.guides.guide import Guide
from taut.guides.mixture_normal import MixtureNormal
from taut.objectives.matched_elbo import Batch

ACCEPTANCE = 0.8
JITTER = 0.3
LARGEST_COVARIANCE = 256


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How much to run.

    Attributes:
        chains: how many chains.
        iterations: iterations of one round; the step size adapts before those that are kept.
        kept: how many of them are kept, the last ones.
        leapfrog: gradients of one iteration.
        rounds: how many rounds at most.
    """

    chains: int
    iterations: int
    kept: int
    leapfrog: int
    rounds: int

    @property
    def cost(self) -> int:
        """Gradients of one round."""
        return self.chains * self.iterations * self.leapfrog


# For models of cheap gradients, and for the others.
FULL = Schedule(chains=256, iterations=22, kept=16, leapfrog=5, rounds=6)
THIN = Schedule(chains=64, iterations=18, kept=8, leapfrog=5, rounds=4)


class Walk:
    """Hamiltonian Monte Carlo on many chains in lock step.

    Args:
        batch: batched log density and gradient.
        start: where the chains are (chains, dim).
        root: square root of the covariance to whiten by.
        schedule: how much to run.
        rng: source of noise.
    """

    def __init__(
        self,
        batch: Batch,
        start: np.ndarray,
        root: "_Root",
        schedule: Schedule,
        rng: np.random.Generator,
    ):
        self._schedule = schedule
        self._batch = batch
        self._rng = rng
        self._root = root
        self._step_size = 0.5
        self.position = start
        self.values, self._gradients = batch(start)

    def round(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Run one round, adapting before what is kept; return states, densities and acceptance."""
        states, log_p, acceptances = [], [], []
        schedule = self._schedule
        adapting = schedule.iterations - schedule.kept
        for iteration in range(schedule.iterations):
            acceptance = self._iterate()
            if iteration < adapting:
                gain = 1.0 / (1.0 + 0.4 * iteration)
                self._step_size *= float(np.exp(gain * (acceptance - ACCEPTANCE)))
                self._step_size = min(max(self._step_size, 1e-3), 2.0)
            else:
                states.append(self.position)
                log_p.append(self.values)
                acceptances.append(acceptance)
        return np.array(states), np.array(log_p), float(np.mean(acceptances))

    def _iterate(self) -> float:
        """Move every chain once; return the mean acceptance probability."""
        root = self._root
        size = self._step_size * self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)
        momentum = self._rng.standard_normal(self.position.shape)
        before = self.values - 0.5 * (momentum**2).sum(axis=1)
        position, gradients = self.position, self._gradients
        values = self.values
        momentum = momentum + 0.5 * size * root.pull(gradients)
        for leap in range(self._schedule.leapfrog):
            position = position + size * root.push(momentum)
            values, gradients = self._batch(position)
            last = leap == self._schedule.leapfrog - 1
            momentum = momentum + (0.5 if last else 1.0) * size * root.pull(gradients)
        after = values - 0.5 * (momentum**2).sum(axis=1)
        with np.errstate(invalid="ignore"):
            probability = np.exp(np.minimum(after - before, 0.0))
        probability = np.where(np.isfinite(probability), probability, 0.0)
        accepted = self._rng.random(len(position)) < probability
        self.position = np.where(accepted[:, None], position, self.position)
        self.values = np.where(accepted, values, self.values)
        self._gradients = np.where(accepted[:, None], gradients, self._gradients)
        return float(probability.mean())

    def rewhiten(self, flat: np.ndarray) -> None:
        """Whiten by the covariance of given states (n, dim), whole rounds of all chains."""
        self._root = self._root.refit(flat)


class _Root:
    """A square root of a covariance, dense or diagonal."""

    def __init__(self, root: np.ndarray):
        self._root = root

    def push(self, white: np.ndarray) -> np.ndarray:
        """From whitened to latent coordinates (n, dim)."""
        return white @ self._root.T if self._root.ndim == 2 else white * self._root

    def pull(self, gradients: np.ndarray) -> np.ndarray:
        """Gradients with respect to whitened coordinates (n, dim)."""
        return gradients @ self._root if self._root.ndim == 2 else gradients * self._root

    def refit(self, flat: np.ndarray) -> "_Root":
        """Return the root for states (n, dim)."""
        return _Root(_factor(flat))


class _GroupRoots(_Root):
    """A dense square root for each group of chains: modes differ in scale and correlation."""

    def __init__(self, roots: np.ndarray, groups: np.ndarray):
        self._roots, self._groups = roots, groups
        self._by_chain = roots[groups]

    def push(self, white: np.ndarray) -> np.ndarray:
        """From whitened to latent coordinates (chains, dim)."""
        return np.einsum("nij,nj->ni", self._by_chain, white)

    def pull(self, gradients: np.ndarray) -> np.ndarray:
        """Gradients with respect to whitened coordinates (chains, dim)."""
        return np.einsum("nij,ni->nj", self._by_chain, gradients)

    def refit(self, flat: np.ndarray) -> "_GroupRoots":
        """Return the roots for states (n, dim); a group of few states keeps its own."""
        groups = np.tile(self._groups, len(flat) // len(self._groups))
        roots = self._roots.copy()
        for group in range(len(roots)):
            states = flat[groups == group]
            if len(states) > 4 * flat.shape[1] and np.ndim(root := _factor(states)) == 2:
                roots[group] = root
        return _GroupRoots(roots, self._groups)


def _factor(states: np.ndarray) -> np.ndarray:
    """Return the Cholesky factor of the covariance of states, or their sds if there is none."""
    dim = states.shape[1]
    if dim > LARGEST_COVARIANCE:
        return states.std(axis=0)
    covariance = np.cov(states.T).reshape(dim, dim)
    jitter = 1e-9 * np.trace(covariance) / dim
    try:
        return np.linalg.cholesky(covariance + jitter * np.eye(dim))
    except np.linalg.LinAlgError:
        return states.std(axis=0)


def groups_of(guide: Guide, z: np.ndarray) -> np.ndarray:
    """Return the component of a mixture that each of `z` (n, dim) belongs to; zeros otherwise."""
    if isinstance(guide, MixtureNormal):
        return guide.log_parts(z).argmax(axis=1)
    return np.zeros(len(z), int)


def shares_of(guide: Guide) -> np.ndarray:
    """Return the share of each group of `groups_of`."""
    return guide.weights if isinstance(guide, MixtureNormal) else np.ones(1)


def whitening(guide: Guide, groups: np.ndarray) -> "_Root":
    """Return the square root of the guide's covariance, by group of chains for a mixture."""
    if isinstance(guide, MixtureNormal):
        return _GroupRoots(guide.scale_tril, groups)
    return _Root(guide.scale_tril if isinstance(guide, FullRankNormal) else guide.sd())
