"""Hamiltonian Monte Carlo on many chains in lock step."""

import dataclasses

import numpy as np
from jaxtyping import Float

from taut.guides.full_rank import FullRankNormal
from taut.guides.guide import Guide
from taut.guides.mixture_normal import MixtureNormal
from taut.guides.triangular import TriangularFlow
from taut.objectives.matched_elbo import Batch, begin

ACCEPTANCE = 0.8
JITTER = 0.3
LARGEST_COVARIANCE = 256

# Nats by which the energy of a trajectory may rise before it is no trajectory any more: a step is
# far too long for the scale of the density there (Hoffman and Gelman 2014, JMLR 15).
DIVERGENT = 1000.0

# Leapfrog steps of chains that go on because they are far off: they have farther to go.
LONG_LEAPFROG = 5


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How much to run.

    Attributes:
        chains: how many chains.
        iterations: iterations of one round; the step size adapts before those that are kept.
        kept: how many of them are kept, the last ones.
        leapfrog: gradients of one iteration; three are a third of a period of a standard normal.
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

    @property
    def further_cost(self) -> int:
        """Gradients of a round that goes on with the step size found."""
        return self.chains * self.kept * self.leapfrog

    @property
    def long_cost(self) -> int:
        """Gradients of one round of a long run."""
        return self.chains * self.iterations * LONG_LEAPFROG


# For models of cheap gradients, and for the others.
FULL = Schedule(chains=256, iterations=22, kept=16, leapfrog=3, rounds=6)
THIN = Schedule(chains=64, iterations=18, kept=8, leapfrog=3, rounds=4)


@dataclasses.dataclass(frozen=True)
class Round:
    """What a round leaves.

    Attributes:
        states: the kept states (kept, chains, dim), in the latent space.
        log_p: their log densities (kept, chains).
        positions: the same states in the coordinates that were walked in (kept, chains, dim).
        acceptance: mean acceptance of the kept iterations.
        diverged: share of their trajectories whose energy went astray.
    """

    states: Float[np.ndarray, "kept chains dim"]
    log_p: Float[np.ndarray, "kept chains"]
    positions: Float[np.ndarray, "kept chains dim"]
    acceptance: float
    diverged: float


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where all chains are: latent vectors, positions walked in, and the densities of both."""

    z: np.ndarray
    log_p: np.ndarray
    position: np.ndarray
    value: np.ndarray
    gradient: np.ndarray

    def where(self, accepted: np.ndarray, other: "_Place") -> "_Place":
        """Take this place where accepted, else the other."""
        row = accepted[:, None]
        return _Place(
            np.where(row, self.z, other.z),
            np.where(accepted, self.log_p, other.log_p),
            np.where(row, self.position, other.position),
            np.where(accepted, self.value, other.value),
            np.where(row, self.gradient, other.gradient),
        )


@dataclasses.dataclass(frozen=True)
class _Dice:
    """What is drawn for one iteration.

    Attributes:
        jitter: factor on the step size.
        momentum: of each chain (chains, dim).
        energy: kinetic energy of each momentum (chains,).
        threshold: of the acceptance probability (chains,).
    """

    jitter: float
    momentum: np.ndarray
    energy: np.ndarray
    threshold: np.ndarray


class Walk:
    """Hamiltonian Monte Carlo on many chains in lock step.

    Chains walk in the coordinates of the guide: those of a flow make a bent posterior nearly a
    standard normal one (NeuTra: Hoffman and others 2019, arXiv 1903.03704).

    Args:
        batch: batched log density and gradient.
        start: where the chains are (chains, dim).
        guide: what the chains start from; it gives the coordinates.
        schedule: how much to run.
        rng: source of noise.
    """

    def __init__(
        self,
        batch: Batch,
        start: np.ndarray,
        guide: Guide,
        schedule: Schedule,
        rng: np.random.Generator,
    ):
        self._schedule = schedule
        self._batch = batch
        self._rng = rng
        self._flow = guide if isinstance(guide, TriangularFlow) else None
        self._root = _whitening(guide, groups_of(guide, start))
        self._step_size = 0.5
        self._dice: _Dice | None = None
        self._place = self._at(self.positions(start))

    def positions(self, states: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """Return the coordinates walked in of latent states."""
        return states if self._flow is None else self._flow.inverse(states)

    @property
    def here(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the chains are (chains, dim), and their log densities (chains,)."""
        return self._place.z, self._place.log_p

    def round(self, leapfrog: int | None = None, adapt: bool = True) -> Round:
        """Run one round, adapting the step size before what is kept.

        Args:
            leapfrog: gradients of one iteration, instead of the schedule's.
            adapt: False keeps the step size, and all iterations.
        """
        kept, acceptances, strays = [], [], []
        schedule = self._schedule
        adapting = schedule.iterations - schedule.kept if adapt else 0
        for iteration in range(adapting + schedule.kept):
            acceptance, diverged = self._iterate(leapfrog or schedule.leapfrog)
            if iteration < adapting:
                gain = 1.0 / (1.0 + 0.4 * iteration)
                self._step_size *= float(np.exp(gain * (acceptance - ACCEPTANCE)))
                self._step_size = min(max(self._step_size, 1e-3), 2.0)
            else:
                kept.append((self._place.z, self._place.log_p, self._place.position))
                acceptances.append(acceptance)
                strays.append(diverged)
        states, log_p, positions = map(np.array, zip(*kept, strict=True))
        acceptance, diverged = float(np.mean(acceptances)), float(np.mean(strays))
        return Round(states, log_p, positions, acceptance, diverged)

    def _at(self, position: np.ndarray) -> _Place:
        if self._flow is None:
            result = begin(self._batch, position)
            self._throw(position.shape)
            value, gradient = result()
            return _Place(position, value, position, value, gradient)
        layers = self._flow.layers(position)
        z = self._flow.place(layers)
        finite = np.isfinite(np.einsum("ni->n", z))
        result = begin(self._batch, z if finite.all() else np.where(finite[:, None], z, 0.0))
        log_det = self._flow.log_det_of(layers)
        layers.prepare()
        self._throw(position.shape)
        log_p, gradient = result()
        # A step that overflows is turned down like any other of no density.
        value = np.where(finite, log_p + log_det, -np.inf)
        return _Place(z, log_p, position, value, self._flow.pull(layers, gradient))

    def _iterate(self, leapfrog: int) -> tuple[float, float]:
        """Move every chain once; return the mean acceptance, and the share that diverged."""
        root, place = self._root, self._place
        dice, self._dice = self._throw(place.position.shape), None
        size, momentum = self._step_size * dice.jitter, dice.momentum
        before = place.value - dice.energy
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            momentum = momentum + 0.5 * size * root.pull(place.gradient)
            for leap in range(leapfrog):
                place = self._at(place.position + size * root.push(momentum))
                last = leap == leapfrog - 1
                momentum = momentum + (0.5 if last else 1.0) * size * root.pull(place.gradient)
            after = place.value - _kinetic(momentum)
            gained = after - before
            probability = np.exp(np.minimum(gained, 0.0))
            # Where there is no density a step ends at an edge: that says nothing of its length.
            diverged = (gained < -DIVERGENT) & np.isfinite(gained)
        probability = np.where(np.isfinite(probability), probability, 0.0)
        accepted = dice.threshold < probability
        self._place = place.where(accepted, self._place)
        return float(probability.mean()), float(diverged.mean())

    def _throw(self, shape: tuple[int, ...]) -> "_Dice":
        """Return what the next iteration needs, drawn while others compute or now."""
        if self._dice is None:
            jitter = self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)
            momentum = self._rng.standard_normal(shape)
            threshold = self._rng.random(shape[0])
            self._dice = _Dice(jitter, momentum, _kinetic(momentum), threshold)
        return self._dice

    def rewhiten(self, positions: Float[np.ndarray, "kept chains dim"]) -> None:
        """Whiten by the covariance of positions of whole rounds of all chains."""
        self._root = self._root.refit(positions.reshape(-1, positions.shape[-1]))


def _kinetic(momentum: np.ndarray) -> np.ndarray:
    """Return the kinetic energy of each chain (chains,)."""
    return 0.5 * np.einsum("ni,ni->n", momentum, momentum)


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
        if self._root.ndim == 2 and flat.shape[1] > LARGEST_COVARIANCE:
            # So few states have a worse covariance than the guide.
            return self
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


def _whitening(guide: Guide, groups: np.ndarray) -> "_Root":
    """Return the square root of the guide's covariance, by group of chains for a mixture."""
    if isinstance(guide, TriangularFlow):
        return _Root(np.ones(guide.dim))
    if isinstance(guide, MixtureNormal):
        return _GroupRoots(guide.scale_tril, groups)
    return _Root(guide.scale_tril if isinstance(guide, FullRankNormal) else guide.sd())
