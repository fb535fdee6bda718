"""Which of the starts lead to different solutions.

A posterior with several separate modes gives several Gaussians that each look perfect from inside.
The starts are the only evidence of it, so those that ended in different places are each fitted a
little and compared by their ELBO.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from taut.loop.stages import GaussianFit
from taut.loop.starts import Candidate
from taut.objectives.matched_elbo import Batch, Evaluation

MOST_BASINS = 4
SETTLE_STEPS = 15
SETTLE_TOLERANCE = 0.3

# A solution this many nats of ELBO below the best has less than a ten-thousandth of the mass.
NEGLIGIBLE = 9.0

# Two solutions count as separate if the log density between them dips below both by this much.
LEAST_DIP = 1.0
SEGMENT_POINTS = 33


def settle_basins(
    fit: GaussianFit, batch: Batch, candidates: Sequence[Candidate], draws: int
) -> list[Evaluation]:
    """Fit the candidates that are apart from each other, briefly; return them best first.

    Args:
        fit: does the fitting.
        batch: batched log density and gradient.
        candidates: from the start search, best first.
        draws: draws per evaluation.
    """
    settled: list[Evaluation] = []
    tried: list[Any] = []
    for candidate in candidates:
        if len(settled) == MOST_BASINS:
            break
        if any(not apart(candidate.guide, guide) for guide in tried):
            continue
        evaluation = fit.settle(candidate.guide, draws, SETTLE_TOLERANCE, SETTLE_STEPS)
        tried += [candidate.guide, evaluation.guide]
        if np.isfinite(evaluation.loss):
            settled.append(evaluation)
    settled.sort(key=lambda evaluation: evaluation.loss)
    distinct: list[Evaluation] = []
    for evaluation in settled:
        if evaluation.loss > settled[0].loss + NEGLIGIBLE:
            break
        if all(separated(batch, evaluation.guide, other.guide) for other in distinct):
            distinct.append(evaluation)
    return distinct


def separated(batch: Batch, first: Any, second: Any) -> bool:
    """Whether two Gaussians are apart and the density dips between them.

    Without a dip they are two views of one region, a funnel's neck and its body, say.
    """
    if not apart(first, second):
        return False
    share = np.linspace(0.0, 1.0, SEGMENT_POINTS)[:, None]
    values, _ = batch(first.mean() + share * (second.mean() - first.mean()))
    return bool(values[1:-1].min() < min(values[0], values[-1]) - LEAST_DIP)


def apart(first: Any, second: Any) -> bool:
    """Whether two Gaussians lie outside each other: squared distance above 9 + 2 dim both ways."""
    limit = 9.0 + 2.0 * first.dim
    return min(_squared_distance(first, second), _squared_distance(second, first)) > limit


def _squared_distance(point: Any, guide: Any) -> float:
    at_mean = guide.log_prob(guide.mean())
    return float(2.0 * (at_mean - guide.log_prob(point.mean())))
