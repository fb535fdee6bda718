"""Many short Hamiltonian Monte Carlo chains from a guide's draws.

If the guide is right its draws are already stationary, and moving them changes nothing; how far the
mean and spread of each parameter drift is a lower bound on the guide's error (Wang, Kasprzak and
Huggins's idea of targeted accuracy diagnostics, TADDAA, 2023, arXiv 2302.12419). Run until the
chains have forgotten where they started, the same chains give corrected draws.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from taut.diagnostics.regions import Region
from taut.diagnostics.walk import FULL, LONG_LEAPFROG, Round, Schedule, Walk, groups_of
from taut.guides.guide import Guide
from taut.objectives.matched_elbo import Batch

REFERENCE = "Wang and others (2023), Targeted accuracy diagnostics, arXiv 2302.12419"
LEAST_ACCEPTANCE = 0.4

# What a settled round may still do: correlation across chains between its first and last states,
# shift of a mean in sd, factor on a sd; each plus a multiple of 1 / sqrt(chains), its own noise.
REMEMBERED, MOVED, WIDENED = 0.1, 0.06, 1.06

# Windows of a long run, in rounds, each twice the one before; how many comparisons of neighbours in
# a row must find no movement; and what each may still find, on top of its own noise. What is left
# to go after a window is about what the last doubling moved.
WINDOWS, QUIET_WINDOWS = (2, 4, 8, 16, 32), 2
LONG_MOVED, LONG_WIDENED = 0.04, 1.05
# And how many independent draws each chain must be worth in the last one; twice as many where that
# is a short one, so that only chains that move fast stop there.
DRAWS_PER_CHAIN, SHORT_WINDOW = 4.0, 8
# A window that widened this much will not be quiet soon, unless it is one of the first.
HOPELESS = 1.25


@dataclasses.dataclass(frozen=True)
class Chains:
    """What the short chains did.

    Attributes:
        states: the kept states (kept, chains, dim), in the latent space.
        log_p: their log densities (kept, chains).
        positions: the states in the coordinates that were walked in (kept, chains, dim): the noise
            of a flow.
        groups: the component of the guide each chain started in (chains,).
        mean_drift: (mean of kept states - guide's mean) / guide's sd, per coordinate; of their
            normal scores where the guide is no Gaussian.
        sd_ratio: sd of kept states / guide's sd, per coordinate, likewise.
        memory: largest correlation between the first and last states of the last round.
        settled: the last round moved no mean and no spread and forgot its start.
        rounds: how many rounds were run.
        acceptance: mean acceptance of the last round.
        diverged: share of its trajectories whose energy went astray.
        confirmed: a long run of doubling windows found no movement either.
        beyond: share of states beyond a dip of the density; None if not looked for.
        region: how much of the mass lies around there; None if there are none.
    """

    states: Float[np.ndarray, "kept chains dim"]
    log_p: Float[np.ndarray, "kept chains"]
    positions: Float[np.ndarray, "kept chains dim"]
    groups: Int[np.ndarray, " chains"]
    mean_drift: Float[np.ndarray, " dim"]
    sd_ratio: Float[np.ndarray, " dim"]
    memory: float
    settled: bool
    rounds: int
    acceptance: float
    diverged: float = 0.0
    confirmed: bool = False
    beyond: float | None = None
    region: Region | None = None

    @functools.cached_property
    def effective(self) -> float:
        """Effective number of draws for the worst coordinate's mean, from the chains' spread."""
        return _effective(self.states, self.groups)

    @property
    def noise(self) -> float:
        """The largest drift of a mean, in sds, that the chains' own noise makes of no drift."""
        return _largest(self.states.shape[-1]) / np.sqrt(self.effective)

    @property
    def moved(self) -> bool:
        """Whether a mean or a sd drifted by more than that and what does not matter."""
        widened = np.abs(np.log(self.sd_ratio)).max()
        return bool(
            np.abs(self.mean_drift).max() > MOVED + self.noise
            or widened > np.log(WIDENED) + self.noise / np.sqrt(2.0)
        )


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
        guide: Guide,
        start: np.ndarray,
        schedule: Schedule,
        rng: np.random.Generator,
    ):
        self._dim, self._scores = guide.dim, guide.scorer()
        self._most, self._kept = schedule.rounds, schedule.kept
        self._groups = groups_of(guide, start)
        self._walk = Walk(batch, start, guide, schedule, rng)
        # The scores of the states to keep, those of the last round and of what extends it.
        self._settled = np.zeros((0, self._dim))

    def rounds(self) -> Iterator[Chains]:
        """Run rounds until the chains settle; yields the state of affairs after each."""
        previous = _Moments(np.zeros(self._dim), np.ones(self._dim), np.inf)
        largest = 1.0 + _largest(self._dim)
        for number in range(1, self._most + 1):
            first = self._scored()
            latest = self._walk.round()
            states, log_p, acceptance = latest.states, latest.log_p, latest.acceptance
            self._settled = self._scores(_flat(states))
            moments = self._moments(self._settled)
            memory = _memory(first, self._scored(), self._groups)
            moved, change, error = moments.against(previous)
            noise = largest * error
            settled = bool(
                moved < MOVED + noise
                and change < WIDENED + noise / np.sqrt(2.0)
                and memory < REMEMBERED + largest / np.sqrt(states.shape[1])
                and acceptance > LEAST_ACCEPTANCE
            )
            drift, ratio = moments.mean, moments.sd
            yield Chains(
                states,
                log_p,
                latest.positions,
                self._groups,
                drift,
                ratio,
                memory,
                settled,
                number,
                acceptance,
                latest.diverged,
            )
            if settled:
                return
            previous = moments
            self._walk.rewhiten(latest.positions)

    def persist(self, chains: Chains) -> Chains:
        """Go on in windows of doubling length until neighbouring windows agree, or give up.

        A round compared with the round before sees no slow drift; a window compared with one half
        as long does. The states returned are spread evenly over the last window.
        """
        largest = _largest(self._dim)
        previous, quiet, rounds, change = None, 0, chains.rounds, 1.0
        for window in WINDOWS:
            latest = self._window(window)
            states, log_p, acceptance = latest.states, latest.log_p, latest.acceptance
            rounds += window
            moments = self._moments(self._scores(_flat(states)))
            self._walk.rewhiten(latest.positions)
            if previous is not None:
                moved, change, error = moments.against(previous)
                noise = largest * error
                still = moved < LONG_MOVED + noise and change < LONG_WIDENED + noise / np.sqrt(2.0)
                quiet = quiet + 1 if still and acceptance > LEAST_ACCEPTANCE else 0
            each = DRAWS_PER_CHAIN if window > SHORT_WINDOW else 2.0 * DRAWS_PER_CHAIN
            enough = moments.effective >= each * states.shape[1]
            spread = np.linspace(0, len(states) - 1, self._kept).astype(int)
            chains = dataclasses.replace(
                chains,
                states=states[spread],
                log_p=log_p[spread],
                positions=latest.positions[spread],
                mean_drift=moments.mean,
                sd_ratio=moments.sd,
                settled=quiet > 0,
                confirmed=quiet >= QUIET_WINDOWS and enough,
                rounds=rounds,
                acceptance=acceptance,
                diverged=latest.diverged,
            )
            hopeless = window >= SHORT_WINDOW and change > HOPELESS
            if chains.confirmed or hopeless:
                break
            previous = moments
        return chains

    def _scored(self) -> tuple[np.ndarray, np.ndarray]:
        states, log_p = self._walk.here
        return self._scores(states), log_p

    def _moments(self, scores: np.ndarray) -> "_Moments":
        """Moments in the guide's own units, in which it has mean zero and sd one itself."""
        chains = scores.reshape(-1, len(self._groups), self._dim)
        effective = _effective(chains, self._groups)
        return _Moments(scores.mean(axis=0), scores.std(axis=0), effective)

    def _window(self, rounds: int) -> Round:
        parts = [self._walk.round(LONG_LEAPFROG) for _ in range(rounds)]
        return Round(
            np.concatenate([part.states for part in parts]),
            np.concatenate([part.log_p for part in parts]),
            np.concatenate([part.positions for part in parts]),
            float(np.mean([part.acceptance for part in parts])),
            float(np.mean([part.diverged for part in parts])),
        )

    def extend(self, chains: Chains) -> Chains:
        """Run one more round of chains that have settled and keep its states too."""
        latest = self._walk.round(adapt=False)
        self._settled = np.concatenate([self._settled, self._scores(_flat(latest.states))])
        moments = self._moments(self._settled)
        return dataclasses.replace(
            chains,
            states=np.concatenate([chains.states, latest.states]),
            log_p=np.concatenate([chains.log_p, latest.log_p]),
            positions=np.concatenate([chains.positions, latest.positions]),
            mean_drift=moments.mean,
            sd_ratio=moments.sd,
            rounds=chains.rounds + 1,
            acceptance=latest.acceptance,
            diverged=np.average([chains.diverged, latest.diverged], weights=[chains.rounds, 1]),
        )


def continue_chains(
    batch: Batch, guide: Guide, states: np.ndarray, wanted: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return at least `wanted` further states (n, dim) of settled chains, and log p of each (n,).

    Args:
        batch: batched log density and gradient.
        guide: where the chains started from.
        states: the chains' last kept states (kept, chains, dim).
        wanted: how many draws are needed.
        rng: source of noise.
    """
    schedule = _continued(states.shape[1], wanted)
    walk = Walk(batch, states[-1], guide, schedule, rng)
    walk.rewhiten(walk.positions(states))
    latest = walk.round()
    return _flat(latest.states), latest.log_p.reshape(-1)


def gradients_to_continue(chains: int, wanted: int) -> int:
    """Return how many gradients `continue_chains` takes for so many states."""
    return _continued(chains, wanted).cost


def _continued(chains: int, wanted: int) -> Schedule:
    """One round, however long: the step size needs to be found but once."""
    adapting, kept = FULL.iterations - FULL.kept, math.ceil(wanted / chains)
    return dataclasses.replace(FULL, chains=chains, iterations=adapting + kept, kept=kept)


@dataclasses.dataclass(frozen=True)
class _Moments:
    """Means and sds of states, and how many independent draws they are worth."""

    mean: np.ndarray
    sd: np.ndarray
    effective: float

    def against(self, before: "_Moments") -> tuple[float, float, float]:
        """Return the largest shift in sds, the largest factor on a sd, and a shift's error."""
        now, then = np.maximum(self.sd, 1e-300), np.maximum(before.sd, 1e-300)
        moved = (np.abs(self.mean - before.mean) / now).max()
        change = np.maximum(now / then, then / now).max()
        worth = (max(each.effective, 1e-300) for each in (self, before))
        return moved, change, np.sqrt(sum(1.0 / each for each in worth))


def _largest(dim: int) -> float:
    """Noise of the largest of comparisons of so many coordinates, in standard errors."""
    return float(np.sqrt(2.0 * np.log(2.0 * dim + 2.0)))


def _flat(states: np.ndarray) -> np.ndarray:
    return states.reshape(-1, states.shape[-1])


def _effective(states: np.ndarray, groups: np.ndarray) -> float:
    # Chains stay in their modes, whose shares are given: only what happens within counts.
    kept, count, _ = states.shape
    centred = states - states.mean(axis=0)
    centres = _centred(states.mean(axis=0), groups)
    spread = (centres**2).sum(axis=0) / (count - 1) / count
    flat = _flat(centred)
    variance = np.einsum("ij,ij->j", flat, flat) / len(flat) + (centres**2).mean(axis=0)
    return float(min((variance / np.maximum(spread, 1e-300)).min(), kept * count))


def _memory(
    first: tuple[np.ndarray, np.ndarray], last: tuple[np.ndarray, np.ndarray], groups: np.ndarray
) -> float:
    """Largest correlation across chains between where a round began and where it ended."""
    begin, end = (_unit(_centred(np.column_stack(pair), groups)) for pair in (first, last))
    scale = np.sqrt((begin**2).sum(axis=0) * (end**2).sum(axis=0))
    return float(np.abs((begin * end).sum(axis=0) / np.maximum(scale, 1e-300)).max())


def _unit(values: np.ndarray) -> np.ndarray:
    """Divide each column by its largest magnitude: squares of large values overflow."""
    return values / np.maximum(np.abs(values).max(axis=0), 1e-300)


def _centred(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Subtract from each row the mean of its group."""
    counts = np.bincount(groups)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, groups, values)
    return values - (sums / np.maximum(counts, 1)[:, None])[groups]
