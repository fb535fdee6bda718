"""Has a noisy optimisation settled? A pure function of what it has recorded.

A constant step size never stops moving: in the end the parameters fluctuate around the optimum.
They have settled when the two halves of a stretch of steps look alike. Two tests are made on the
last half of all steps:

- *parameters*: the halves' means, compared with the fluctuation within them, by the potential scale
  reduction factor of Gelman and Rubin on thinned iterates (Dhaka et al., "Robust, accurate
  stochastic optimization for variational inference", 2020);
- *loss*: its fall from one half to the other, compared with its standard error from batch means.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

THINNING = 50
"""Steps between the iterates that are kept."""

COORDINATES = 256
"""Coordinates of the parameters that are kept, evenly spread, if there are more."""

FEWEST_STEPS = 1000
LARGEST_REDUCTION = 1.1  # the usual threshold of the factor, as in the paper
NEGLIGIBLE = 0.01  # nats: a fall that changes no conclusion about a posterior
BATCHES = 20
SURE = 3.0  # standard errors


@dataclasses.dataclass(frozen=True)
class Settled:
    """What the records say.

    Attributes:
        converged: nothing moves any more but by noise.
        message: a sentence.
    """

    converged: bool
    message: str


def settled(
    losses: Float[np.ndarray, " steps"],
    iterates: Float[np.ndarray, "kept coordinates"],
    names: tuple[str, ...],
) -> Settled:
    """Judge whether loss and parameters have stopped moving.

    Args:
        losses: the loss of every step; NaN where a step was skipped.
        iterates: unconstrained parameters after every 50th step.
        names: what each coordinate is called.
    """
    steps = len(losses)
    if steps < FEWEST_STEPS:
        return Settled(
            False, f"too few steps to tell: {steps:,} were made, {FEWEST_STEPS:,} are needed"
        )
    fall, error = _fall(losses[steps // 2 :])
    if not math.isfinite(error):
        return Settled(False, "too few of the last half of the steps were finite to tell")
    if fall + SURE * error < NEGLIGIBLE:
        return Settled(True, f"the loss fell by less than {NEGLIGIBLE} over the last half of steps")
    if fall > max(SURE * error, NEGLIGIBLE):
        return Settled(
            False,
            f"the loss is still falling: by {fall:.3g} ± {error:.2g} over the last half of the "
            "steps; make more steps, or larger ones",
        )
    factor = _reduction(iterates[len(iterates) // 2 :])
    # Of many coordinates some exceed any threshold by chance.
    rank = math.ceil(0.95 * len(factor)) - 1
    order = np.argsort(factor)
    if len(factor) and factor[order[rank]] > LARGEST_REDUCTION:
        worst = int(order[-1])
        return Settled(
            False,
            f"param {names[worst]} is still moving: the halves of the last {steps - steps // 2:,} "
            f"steps differ (scale reduction {factor[worst]:.2f}, {LARGEST_REDUCTION} is settled); "
            "make more steps",
        )
    return Settled(True, "loss and parameters have settled: only noise moves them")


def _fall(losses: np.ndarray) -> tuple[float, float]:
    """Return by how much the mean of the second half is below that of the first, and its error."""
    finite = losses[np.isfinite(losses)]
    if len(finite) < 2 * BATCHES:
        return math.nan, math.inf
    means = np.array([part.mean() for part in np.array_split(finite.astype(float), BATCHES)])
    first, second = means[: BATCHES // 2], means[BATCHES // 2 :]
    error = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / (BATCHES // 2))
    return float(first.mean() - second.mean()), error


def _reduction(iterates: np.ndarray) -> np.ndarray:
    """Return the potential scale reduction factor of each coordinate, from two halves."""
    length = len(iterates) // 2
    halves = np.stack([iterates[:length], iterates[-length:]]).astype(float)
    within = halves.var(axis=1, ddof=1).mean(axis=0)
    between = halves.mean(axis=1).var(axis=0, ddof=1)
    total = (length - 1) / length * within + between
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.sqrt(total / within)
    # A coordinate that stands still has settled.
    return np.where(total == 0, 1.0, factor)
