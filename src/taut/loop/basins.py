"""Which of the starts lead to different solutions.

A posterior with several separate modes gives several Gaussians that each look perfect from inside.
The starts are the only evidence of it, so those that ended in different places are each fitted a
little and compared by their ELBO.
"""

import dataclasses
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


@dataclasses.dataclass
class Basin:
    """One solution.

    Attributes:
        evaluation: a Gaussian fitted to it, briefly.
        hits: how many starts led to it.
        views: Gaussians that belong to it.
    """

    evaluation: Evaluation
    hits: int
    views: list[Any]


def settle_basins(
    fit: GaussianFit,
    batch: Batch,
    candidates: Sequence[Candidate],
    draws: int,
    known: Sequence[Basin] = (),
    most: int = MOST_BASINS,
) -> list[Basin]:
    """Fit the candidates that are apart from each other, briefly; return them best first.

    Args:
        fit: does the fitting.
        batch: batched log density and gradient.
        candidates: from the start search, best first.
        draws: draws per evaluation.
        known: solutions found before; their hits go on counting.
        most: how many solutions to look at.
    """
    basins = list(known)
    for candidate in candidates:
        home = next((b for b in basins if not _apart_from_all(candidate.guide, b.views)), None)
        if home is not None:
            home.hits += 1
        elif len(basins) < most:
            evaluation = fit.settle(candidate.guide, draws, SETTLE_TOLERANCE, SETTLE_STEPS)
            basins.append(Basin(evaluation, 1, [candidate.guide, evaluation.guide]))
    basins = [basin for basin in basins if np.isfinite(basin.evaluation.loss)]
    basins.sort(key=lambda basin: basin.evaluation.loss)
    distinct: list[Basin] = []
    for basin in basins:
        if basin.evaluation.loss > basins[0].evaluation.loss + NEGLIGIBLE:
            break
        guide = basin.evaluation.guide
        twin = next((d for d in distinct if not separated(batch, guide, d.evaluation.guide)), None)
        if twin is None:
            distinct.append(basin)
        else:
            twin.hits += basin.hits
            twin.views += basin.views
    return distinct


def _apart_from_all(guide: Any, views: Sequence[Any]) -> bool:
    return all(apart(guide, view) for view in views)


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
    return all(_squared_distance(a, b) > limit for a, b in ((first, second), (second, first)))


def _squared_distance(point: Any, guide: Any) -> float:
    at_mean, there = guide.log_prob(np.stack([guide.mean(), point.mean()]))
    return float(2.0 * (at_mean - there))
