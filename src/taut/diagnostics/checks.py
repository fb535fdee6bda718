"""Runs the checks on a fitted guide and chooses the draws to return."""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Float

from taut._core.resampling import resample
from taut.diagnostics.dips import beyond_a_dip
from taut.diagnostics.finding import HARMLESS_MASS
from taut.diagnostics.improper import endless
from taut.diagnostics.psis import Weights, importance_weights
from taut.diagnostics.regions import weigh_region
from taut.diagnostics.response import response_ratios
from taut.diagnostics.short_hmc import QUIET_WINDOWS, WINDOWS, Chains, ShortHmc
from taut.diagnostics.trust import (
    doubtful,
    draws_from,
    far_off,
    sure_of_shares,
    weights_worth,
)
from taut.diagnostics.walk import FULL, THIN, Schedule, groups_of, shares_of
from taut.guides.guide import Guide
from taut.guides.mixture_normal import MixtureNormal
from taut.loop.allowance import ALLOWED_WORK, COSTLY_WORK, allowed_gradients
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.stages import Outcome
from taut.posterior.draws import Draws

WEIGHED_DRAWS = 4096

# Draws worth fewer than this leave visible noise in a mean; settled chains go on for more, as long
# as they take no more gradients than the fit did.
ENOUGH_EFFECTIVE = 1500.0

# Where they moved away from the guide, noise comes on top of what they have not made good.
ENOUGH_IF_MOVED = 2000.0

# After so many short rounds a guide that is far off gets a long run of chains instead of more.
ROUNDS_WHEN_FAR_OFF = 2

# A long run of chains, for guides that are far off, may cost this many elements computed: some
# seconds.
MOST_LONG_WORK = 3e10

# Share of the mean weight below which a draw of the guide may be turned down as a start.
OVERCOVERED = 0.1


@dataclasses.dataclass(frozen=True)
class Checks:
    """What the checks found, and the draws they leave.

    Attributes:
        weighed: the guide's draws that were weighed; None if no weights were computed.
        weights: their importance weights; None likewise.
        chains: the short chains; None if they were skipped.
        skipped: why something was skipped, or "".
        z: the draws to return (draws, dim).
        log_p: their log densities (draws,).
        source: "chains", "weights" or "guide"; few chains are repeated to as many draws.
        independent: chains the draws belong to, or how many draws they are worth.
        complete: no check was switched off or stopped.
        response: sds by linear response over those of a mean-field guide (dim,); None for others,
            and where they would have cost more than the other checks.
        endless: coordinates along which the density hardly falls off.
    """

    weighed: Draws | None
    weights: Weights | None
    chains: Chains | None
    skipped: str
    z: Float[np.ndarray, "draws dim"]
    log_p: Float[np.ndarray, " draws"]
    source: str
    independent: int
    complete: bool = True
    response: Float[np.ndarray, " dim"] | None = None
    endless: tuple[int, ...] = ()


def run_checks(
    outcome: Outcome,
    wanted: bool,
    monitor: Monitor,
    work: float,
    rng: np.random.Generator,
    reason: str = "The trust checks were switched off.",
    resolution: float = 0.0,
    drawn: Draws | None = None,
) -> Checks:
    """Weigh the guide's draws, run short chains from it, and choose the draws to return.

    Args:
        outcome: the fitted guide and why the fit stopped.
        wanted: False runs no chains and returns the guide's own draws.
        monitor: the watched batch function.
        work: elements computed for one gradient.
        rng: source of noise.
        reason: what to say if the checks are not wanted.
        resolution: relative rounding error of a log density.
        drawn: the guide's draws, if `draw_to_weigh` has made them before.
    """
    guide, spent = outcome.guide, monitor.gradients
    weighed = drawn or draw_to_weigh(guide, monitor, rng)
    z, log_p, log_q = weighed.z, weighed.log_p, weighed.log_q
    sound = np.isfinite(z).all(axis=1) & np.isfinite(log_q)
    if not sound.all():
        return _unsound(z, sound, monitor)
    if not np.isfinite(log_p).any():
        return Checks(None, None, None, reason, z, log_p, "guide", len(z), complete=False)
    weights = importance_weights(weighed.log_ratios)
    if not wanted:
        return Checks(weighed, weights, None, reason, z, log_p, "guide", len(z), complete=False)
    # That costs no more than the weights did.
    along = endless(monitor, z, log_p) if 2 * z.shape[1] <= WEIGHED_DRAWS else ()
    if work > COSTLY_WORK and not doubtful(weights):
        return _choose(weighed, weights, None, TOO_EXPENSIVE, None, along, rng)
    schedule = choose_schedule(work, spent)
    optional = spent + ALLOWED_WORK / work
    chains = _run_chains(guide, weighed, weights, schedule, monitor, work, optional, rng)
    rounding = resolution * float(np.abs(log_p[np.isfinite(log_p)]).mean())
    most = monitor.gradients - spent
    response = response_ratios(monitor, guide, rounding, most, rng.spawn(1)[0])
    return _choose(weighed, weights, chains, "", response, along, rng)


def draw_to_weigh(guide: Guide, monitor: Monitor, rng: np.random.Generator) -> Draws:
    """Draw from a guide, and evaluate the target at those draws that have a density."""
    z, log_q = _draw(guide, rng)
    sound = np.isfinite(z).all(axis=1) & np.isfinite(log_q)
    log_p = np.full(len(z), -np.inf)
    if sound.all():
        log_p, _ = monitor(z)
    return Draws(z, log_p, log_q)


def misfits(drawn: Draws, guide: Guide) -> bool:
    """Whether the weights of a guide's draws are bad, and perhaps more than far out."""
    if not np.isfinite(drawn.log_p).any():
        return False
    weights = importance_weights(drawn.log_ratios)
    if isinstance(guide, MixtureNormal):
        return not sure_of_shares(weights)
    return doubtful(weights) and weights.beyond[0] >= HARMLESS_MASS


def _unsound(z: np.ndarray, sound: np.ndarray, monitor: Monitor) -> Checks:
    """Leave a guide unweighed that has draws without a density."""
    share = 100 * (1 - sound.mean())
    reason = (
        f"{share:.3g} % of the guide's draws have no finite density, so nothing can be weighed."
    )
    z = z[sound] if sound.any() else np.zeros_like(z)
    log_p, _ = monitor(z)
    return Checks(None, None, None, reason, z, log_p, "guide", len(z), complete=False)


def _draw(guide: Guide, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return draws to weigh; components of a mixture get exact shares of them."""
    if not isinstance(guide, MixtureNormal):
        return guide.draw(WEIGHED_DRAWS, rng)
    noise = rng.standard_normal((WEIGHED_DRAWS, guide.noise_dim))
    ranks = rng.permutation(WEIGHED_DRAWS)
    noise[:, -1] = scipy.special.ndtri((ranks + 0.5) / WEIGHED_DRAWS)
    z = guide.transform(noise)
    return z, guide.log_prob(z)


TOO_EXPENSIVE = (
    "Short HMC was skipped: one gradient of this model costs much, and the importance weights "
    "are not bad. The verdict rests on them alone."
)


def choose_schedule(work: float, gradients: int) -> Schedule:
    """Return how many short chains to run.

    Args:
        work: elements computed for one gradient.
        gradients: what the fit took.
    """
    return FULL if FULL.cost <= allowed_gradients(work, gradients) else THIN


def _run_chains(
    guide: Any,
    weighed: Draws,
    weights: Weights,
    schedule: Schedule,
    monitor: Monitor,
    work: float,
    optional: float,
    rng: np.random.Generator,
) -> Chains | None:
    chains, most = None, monitor.gradients + optional
    starts = _starts(guide, weighed, weights, schedule.chains, rng)
    hmc = ShortHmc(monitor, guide, starts, schedule, rng)
    affordable = work * schedule.long_cost * sum(WINDOWS[: QUIET_WINDOWS + 2]) <= MOST_LONG_WORK
    try:
        for chains in hmc.rounds():
            monitor.progress.update("short chains", gradients=monitor.gradients)
            if far_off(chains) and chains.rounds >= ROUNDS_WHEN_FAR_OFF:
                break
        if chains is None:
            return None
        if far_off(chains) or not chains.settled:
            monitor.progress.update("longer chains", gradients=monitor.gradients)
            return hmc.persist(chains) if affordable else chains
        while chains.settled and chains.rounds < schedule.rounds:
            if chains.moved:
                enough = chains.effective >= ENOUGH_IF_MOVED
            else:
                enough = max(chains.effective, weights_worth(weights)) >= ENOUGH_EFFECTIVE
            if enough or monitor.gradients + schedule.further_cost > most:
                break
            chains = hmc.extend(chains)
    except OutOfTime:
        if chains is None:
            raise
    # Where the weights are bad the guide may be bent so badly that dips mean nothing.
    if work > COSTLY_WORK or doubtful(weights):
        return chains
    chains = _look_beyond(guide, weighed, weights, chains, monitor, rng)
    if chains.region is None or chains.region.known or not affordable:
        return chains
    monitor.progress.update("longer chains", gradients=monitor.gradients)
    longer = _look_beyond(guide, weighed, weights, hmc.persist(chains), monitor, rng)
    if longer.region is not None and longer.region.known:
        return longer
    return dataclasses.replace(longer, beyond=max(chains.beyond or 0.0, longer.beyond or 0.0))


def _look_beyond(
    guide: Any,
    weighed: Draws,
    weights: Weights,
    chains: Chains,
    monitor: Monitor,
    rng: np.random.Generator,
) -> Chains:
    """Look for states beyond a dip of the density, and weigh what is around them."""
    found = beyond_a_dip(monitor, guide, chains.positions)
    if found is None or not found.share:
        return dataclasses.replace(chains, beyond=found and found.share)
    states = chains.states.reshape(-1, guide.dim)
    returned = weights if draws_from(weights, chains) == "weights" else None
    noise = rng.spawn(1)[0]
    region = weigh_region(monitor, guide, weighed, states, states[found.rows], returned, noise)
    return dataclasses.replace(chains, beyond=found.share, region=region)


def _starts(
    guide: Any, weighed: Draws, weights: Weights, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose draws of the guide to start chains from, fewer where it covers too much.

    A chain that starts far outside the posterior takes long to come back and looks like a heavy
    tail. Draws whose weight is a small share of the mean are turned down in proportion; none is
    ever preferred for a large weight, so the drift still shows where the guide is too narrow. Each
    component of a mixture gets the share of the chains that importance sampling gives it.
    """
    ratios = weighed.log_ratios
    reference = np.log(np.exp(ratios - ratios.max()).mean()) + ratios.max()
    keep = np.log(rng.random(len(ratios))) < ratios - reference - np.log(OVERCOVERED)
    groups = groups_of(guide, weighed.z)
    masses = shares_of(guide) * _group_means(np.exp(weights.log_weights), groups)
    edges = np.cumsum(masses) / masses.sum() * count
    wanted = np.diff(np.round(edges).astype(int), prepend=0)
    rows = []
    for group, share in enumerate(wanted):
        mine = np.flatnonzero(groups == group)
        chosen = mine[keep[mine]]
        if len(chosen) < share:
            best = mine[np.argsort(-ratios[mine], kind="stable")]
            chosen = np.resize(np.concatenate([chosen, best]), share)
        rows.append(chosen[:share])
    return weighed.z[np.concatenate(rows)]


def _group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.bincount(groups, values) / np.maximum(np.bincount(groups), 1)


def _choose(
    weighed: Draws,
    weights: Weights,
    chains: Chains | None,
    skipped: str,
    response: np.ndarray | None,
    along: tuple[int, ...],
    rng: np.random.Generator,
) -> Checks:
    source = draws_from(weights, chains)
    found: dict[str, Any] = {
        "weighed": weighed,
        "weights": weights,
        "chains": chains,
        "skipped": skipped,
        "source": source,
        "response": response,
        "endless": along,
    }
    if source == "chains" and chains is not None:
        kept, count, dim = chains.states.shape
        # Few chains leave few states; repeating them all keeps every moment as it is.
        times = max(1, math.ceil(WEIGHED_DRAWS / (kept * count)))
        flat = np.tile(chains.states.reshape(-1, dim), (times, 1))
        log_p = np.tile(chains.log_p.reshape(-1), times)
        return Checks(**found, z=flat, log_p=log_p, independent=count)
    if source == "weights":
        rows = resample(weights.log_weights, len(weighed.z), rng)
        return Checks(
            **found,
            z=weighed.z[rows],
            log_p=weighed.log_p[rows],
            independent=int(weights.effective),
        )
    return Checks(**found, z=weighed.z, log_p=weighed.log_p, independent=len(weighed.z))
