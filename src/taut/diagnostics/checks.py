"""Runs the checks on a fitted guide and chooses the draws to return."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from taut.diagnostics.psis import Weights, importance_weights
from taut.diagnostics.short_hmc import LEAPFROG, MOST_ROUNDS, ROUND, Chains, ShortHmc
from taut.diagnostics.trust import draws_from
from taut.loop.monitor import Monitor
from taut.loop.stages import Outcome
from taut.posterior.draws import Draws
from taut.posterior.pool import resample

WEIGHED_DRAWS = 4096
FEWEST_WEIGHED = 1024
MOST_CHAINS, FEWEST_CHAINS = 512, 64

# Elements that may be computed for the short chains on top of what the fit itself took.
ALLOWED_WORK = 3e8


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
        source: "chains", "weights" or "guide".
        independent: chains the draws belong to, or how many draws they are worth.
    """

    weighed: Draws | None
    weights: Weights | None
    chains: Chains | None
    skipped: str
    z: Float[np.ndarray, "draws dim"]
    log_p: Float[np.ndarray, " draws"]
    source: str
    independent: int


def run_checks(
    outcome: Outcome,
    wanted: bool,
    monitor: Monitor,
    work: float,
    rng: np.random.Generator,
    reason: str = "The trust checks were switched off.",
) -> Checks:
    """Weigh the guide's draws, run short chains from it, and choose the draws to return.

    Args:
        outcome: the fitted guide and why the fit stopped.
        wanted: False draws from the guide and weighs nothing.
        monitor: the watched batch function.
        work: elements computed for one gradient.
        rng: source of noise.
        reason: what to say if the checks are not wanted.
    """
    guide = outcome.guide
    chains_affordable = affordable_chains(work, monitor.gradients)
    count = WEIGHED_DRAWS if chains_affordable else FEWEST_WEIGHED
    noise = rng.standard_normal((count, guide.noise_dim))
    z = guide.transform(noise)
    log_p, _ = monitor(z)
    weighed = Draws(z, log_p, guide.log_prob(z))
    if not np.isfinite(log_p).any():
        return Checks(None, None, None, reason, z, log_p, "guide", count)
    weights = importance_weights(weighed.log_ratios)
    if not wanted:
        return Checks(weighed, weights, None, reason, z, log_p, "guide", count)
    chains, skipped = None, TOO_EXPENSIVE
    if chains_affordable:
        skipped = ""
        rounds = max(1, min(MOST_ROUNDS, int(MOST_ROUNDS * chains_affordable / MOST_CHAINS)))
        for chains in ShortHmc(monitor, guide, chains_affordable, rng).rounds(rounds):
            monitor.progress.update("short chains", gradients=monitor.gradients)
    return _choose(weighed, weights, chains, skipped, rng)


TOO_EXPENSIVE = (
    "Short HMC was skipped: one gradient of this model costs too much. The verdict rests on the "
    "importance weights alone."
)


def affordable_chains(work: float, gradients: int) -> int:
    """Return how many short chains to run, zero if even the fewest cost too much."""
    per_chain = ROUND * LEAPFROG
    allowed = max(ALLOWED_WORK / work, float(gradients)) / per_chain
    chains = MOST_CHAINS
    while chains > allowed and chains >= FEWEST_CHAINS:
        chains //= 2
    return chains if chains >= FEWEST_CHAINS else 0


def _choose(
    weighed: Draws,
    weights: Weights,
    chains: Chains | None,
    skipped: str,
    rng: np.random.Generator,
) -> Checks:
    source = draws_from(weights, chains)
    found: dict[str, Any] = {
        "weighed": weighed,
        "weights": weights,
        "chains": chains,
        "skipped": skipped,
        "source": source,
    }
    if source == "chains" and chains is not None:
        flat = chains.states.reshape(-1, chains.states.shape[-1])
        independent = chains.states.shape[1]
        return Checks(**found, z=flat, log_p=chains.log_p.reshape(-1), independent=independent)
    if source == "weights":
        rows = resample(weights.log_weights, len(weighed.z), rng)
        return Checks(
            **found,
            z=weighed.z[rows],
            log_p=weighed.log_p[rows],
            independent=int(weights.effective),
        )
    return Checks(**found, z=weighed.z, log_p=weighed.log_p, independent=len(weighed.z))
