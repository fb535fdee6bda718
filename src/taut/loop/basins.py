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
from taut.objectives.matched_elbo import Evaluation

MOST_BASINS = 4
SETTLE_STEPS = 15
SETTLE_TOLERANCE = 0.3

# A solution this many nats of ELBO below the best has less than a ten-thousandth of the mass.
NEGLIGIBLE = 9.0


def settle_basins(
    fit: GaussianFit, candidates: Sequence[Candidate], draws: int
) -> list[Evaluation]:
    """Fit the candidates that are apart from each other, briefly; return them best first.

    Args:
        fit: does the fitting.
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
        if all(apart(evaluation.guide, other.guide) for other in distinct):
            distinct.append(evaluation)
    return distinct


def apart(first: Any, second: Any) -> bool:
    """Whether two Gaussians lie outside each other: squared distance above 9 + 2 dim both ways."""
    limit = 9.0 + 2.0 * first.dim
    return min(_squared_distance(first, second), _squared_distance(second, first)) > limit


def _squared_distance(point: Any, guide: Any) -> float:
    at_mean = guide.log_prob(guide.mean())
    return float(2.0 * (at_mean - guide.log_prob(point.mean())))
