"""Many short Hamiltonian Monte Carlo chains from a guide's draws.

If the guide is right its draws are already stationary, and moving them changes nothing; how far the
mean and spread of each parameter drift is a lower bound on the guide's error (Wang, Kucukelbir and
Blei's idea of targeted accuracy diagnostics, TADDAA, 2023, arXiv 2302.12419). Run until the chains
have forgotten where they started, the same chains give corrected draws.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from taut.guides.full_rank import FullRankNormal
from taut.guides.guide import LatentGuide
from taut.objectives.matched_elbo import Batch

REFERENCE = "Wang and others (2023), Targeted accuracy diagnostics, arXiv 2302.12419"
ACCEPTANCE, LEAST_ACCEPTANCE = 0.8, 0.4
JITTER = 0.3
LARGEST_COVARIANCE = 256

# What a settled round may still do: correlation across chains between its first and last states,
# shift of a mean in sd, factor on a sd; each plus a multiple of 1 / sqrt(chains), its own noise.
REMEMBERED, MOVED, WIDENED = 0.1, 0.06, 1.06

# Windows of a long run, in rounds, each twice the one before; how many comparisons of neighbours in
# a row must find no movement; and what each may still find, on top of its own noise. What is left
# to go after a window is about what the last doubling moved.
WINDOWS, QUIET_WINDOWS = (4, 8, 16, 32), 2
LONG_MOVED, LONG_WIDENED = 0.04, 1.05
# And how many independent draws each chain must be worth in the last one.
DRAWS_PER_CHAIN = 4.0
# A window that widened this much will not be quiet soon.
HOPELESS = 1.25


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


@dataclasses.dataclass(frozen=True)
class Chains:
    """What the short chains did.

    Attributes:
        states: the kept states (kept, chains, dim), in the latent space.
        log_p: their log densities (kept, chains).
        mean_drift: (mean of kept states - guide's mean) / guide's sd, per coordinate.
        sd_ratio: sd of kept states / guide's sd, per coordinate.
        memory: largest correlation between the first and last states of the last round.
        settled: the last round moved no mean and no spread and forgot its start.
        rounds: how many rounds were run.
        acceptance: mean acceptance of the last round.
        confirmed: a long run of doubling windows found no movement either.
    """

    states: Float[np.ndarray, "kept chains dim"]
    log_p: Float[np.ndarray, "kept chains"]
    mean_drift: Float[np.ndarray, " dim"]
    sd_ratio: Float[np.ndarray, " dim"]
    memory: float
    settled: bool
    rounds: int
    acceptance: float
    confirmed: bool = False

    @property
    def effective(self) -> float:
        """Effective number of draws for the worst coordinate's mean, from the chains' spread."""
        return _effective(self.states)


# For models of cheap gradients, and for the others.
FULL = Schedule(chains=256, iterations=22, kept=16, leapfrog=5, rounds=6)
THIN = Schedule(chains=64, iterations=18, kept=8, leapfrog=5, rounds=4)


class ShortHmc:
    """Moves chains in coordinates whitened by the guide, later by their own covariance.

    Args:
        batch: batched log density and gradient.
        guide: what is being checked.
        start: draws of it to start from (chains, dim).
        schedule: how much to run.
        rng: source of noise.
    """

    def __init__(
        self,
        batch: Batch,
        guide: LatentGuide,
        start: np.ndarray,
        schedule: Schedule,
        rng: np.random.Generator,
    ):
        self._guide = guide
        self._most, self._kept = schedule.rounds, schedule.kept
        self._walk = Walk(batch, start, _root(guide), schedule, rng)

    def rounds(self) -> Iterator[Chains]:
        """Run rounds until the chains settle; yields the state of affairs after each."""
        guide_mean, guide_sd = self._guide.mean(), self._guide.sd()
        previous = (guide_mean, guide_sd)
        # Noise of the largest of so many comparisons, in standard errors.
        largest = 1.0 + np.sqrt(2.0 * np.log(2.0 * self._guide.dim + 2.0))
        previous_effective = np.inf
        for number in range(1, self._most + 1):
            first, first_values = self._walk.position, self._walk.values
            states, log_p, acceptance = self._walk.round()
            flat = states.reshape(-1, states.shape[-1])
            mean, sd = flat.mean(axis=0), flat.std(axis=0)
            memory = _memory(first, self._walk.position, first_values, self._walk.values)
            old_mean, old_sd = previous
            moved = np.abs(mean - old_mean) / sd
            change = np.maximum(sd / old_sd, old_sd / np.maximum(sd, 1e-300))
            effective = _effective(states)
            noise = largest * np.sqrt(1.0 / effective + 1.0 / previous_effective)
            settled = bool(
                (moved < MOVED + noise).all()
                and (change < WIDENED + noise).all()
                and memory < REMEMBERED + largest / np.sqrt(len(first))
                and acceptance > LEAST_ACCEPTANCE
            )
            drift, ratio = (mean - guide_mean) / guide_sd, sd / guide_sd
            yield Chains(states, log_p, drift, ratio, memory, settled, number, acceptance)
            if settled:
                return
            previous, previous_effective = (mean, sd), effective
            self._walk.rewhiten(flat)

    def persist(self, chains: Chains) -> Chains:
        """Go on in windows of doubling length until neighbouring windows agree, or give up.

        A round compared with the round before sees no slow drift; a window compared with one half
        as long does. The states returned are spread evenly over the last window.
        """
        guide_mean, guide_sd = self._guide.mean(), self._guide.sd()
        largest = np.sqrt(2.0 * np.log(2.0 * self._guide.dim + 2.0))
        previous, quiet, rounds = None, 0, chains.rounds
        for window in WINDOWS:
            states, log_p, acceptance = self._window(window)
            rounds += window
            flat = states.reshape(-1, states.shape[-1])
            mean, sd, effective = flat.mean(axis=0), flat.std(axis=0), _effective(states)
            self._walk.rewhiten(flat)
            if previous is not None:
                old_mean, old_sd, old_effective = previous
                noise = largest * np.sqrt(1.0 / effective + 1.0 / old_effective)
                moved = (np.abs(mean - old_mean) / sd).max()
                change = np.maximum(sd / old_sd, old_sd / np.maximum(sd, 1e-300)).max()
                still = moved < LONG_MOVED + noise and change < LONG_WIDENED + noise / np.sqrt(2.0)
                quiet = quiet + 1 if still and acceptance > LEAST_ACCEPTANCE else 0
            spread = np.linspace(0, len(states) - 1, self._kept).astype(int)
            chains = dataclasses.replace(
                chains,
                states=states[spread],
                log_p=log_p[spread],
                mean_drift=(mean - guide_mean) / guide_sd,
                sd_ratio=sd / guide_sd,
                settled=quiet > 0,
                confirmed=quiet >= QUIET_WINDOWS and effective >= DRAWS_PER_CHAIN * states.shape[1],
                rounds=rounds,
                acceptance=acceptance,
            )
            if chains.confirmed or (previous is not None and change > HOPELESS):
                break
            previous = mean, sd, effective
        return chains

    def _window(self, rounds: int) -> tuple[np.ndarray, np.ndarray, float]:
        parts = [self._walk.round() for _ in range(rounds)]
        states = np.concatenate([part[0] for part in parts])
        log_p = np.concatenate([part[1] for part in parts])
        return states, log_p, float(np.mean([part[2] for part in parts]))

    def extend(self, chains: Chains) -> Chains:
        """Run one more round of chains that have settled and keep its states too."""
        states, log_p, acceptance = self._walk.round()
        return dataclasses.replace(
            chains,
            states=np.concatenate([chains.states, states]),
            log_p=np.concatenate([chains.log_p, log_p]),
            rounds=chains.rounds + 1,
            acceptance=acceptance,
        )


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
        """Whiten by the covariance of given states (n, dim)."""
        dim = flat.shape[1]
        if dim > LARGEST_COVARIANCE:
            self._root = _Root(flat.std(axis=0))
            return
        covariance = np.cov(flat.T).reshape(dim, dim)
        jitter = 1e-9 * np.trace(covariance) / dim
        try:
            self._root = _Root(np.linalg.cholesky(covariance + jitter * np.eye(dim)))
        except np.linalg.LinAlgError:
            self._root = _Root(flat.std(axis=0))


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


def continue_chains(
    batch: Batch, states: np.ndarray, wanted: int, rng: np.random.Generator
) -> np.ndarray:
    """Return at least `wanted` further states (n, dim) of chains that have settled.

    Args:
        batch: batched log density and gradient.
        states: the chains' last kept states (kept, chains, dim).
        wanted: how many draws are needed.
        rng: source of noise.
    """
    flat = states.reshape(-1, states.shape[-1])
    schedule = dataclasses.replace(FULL, chains=states.shape[1])
    walk = Walk(batch, states[-1], _Root(flat.std(axis=0)), schedule, rng)
    walk.rewhiten(flat)
    kept: list[np.ndarray] = []
    while sum(len(part) for part in kept) < wanted:
        latest, _, _ = walk.round()
        kept.append(latest.reshape(-1, states.shape[-1]))
    return np.concatenate(kept)


def _root(guide: LatentGuide) -> _Root:
    return _Root(guide.scale_tril if isinstance(guide, FullRankNormal) else guide.sd())


def _effective(states: np.ndarray) -> float:
    kept, count, dim = states.shape
    spread = states.mean(axis=0).var(axis=0, ddof=1) / count
    variance = states.reshape(-1, dim).var(axis=0)
    return float(min((variance / np.maximum(spread, 1e-300)).min(), kept * count))


def _memory(
    first: np.ndarray, last: np.ndarray, first_values: np.ndarray, last_values: np.ndarray
) -> float:
    """Largest correlation across chains between where a round began and where it ended."""
    begin = np.column_stack([first, first_values])
    end = np.column_stack([last, last_values])
    begin, end = begin - begin.mean(axis=0), end - end.mean(axis=0)
    scale = np.sqrt((begin**2).sum(axis=0) * (end**2).sum(axis=0))
    return float(np.abs((begin * end).sum(axis=0) / np.maximum(scale, 1e-300)).max())
