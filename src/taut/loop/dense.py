"""A full covariance in high dimension: from a mean-field Gaussian by linear response.

A search among all covariances starts too far off to be affordable there. The curvature of the
mean-field objective gives one at once, exact for a Gaussian posterior; what it leaves is seen on
two independent sets of draws, and natural-gradient steps take as much of it as both agree on.
"""

import dataclasses

import numpy as np

from taut.guides.full_rank import FullRankNormal
from taut.guides.guide import GaussianGuide
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.noise import matched_noise
from taut.loop.efficiency import efficient
from taut.loop.monitor import Monitor
from taut.loop.stages import Outcome
from taut.loop.verdict import Verdict
from taut.objectives.full_rank import FullRankFamily, FullRankStep
from taut.objectives.linear_response import CURVATURE_DRAWS, cholesky, curvature, curvature_cost
from taut.objectives.matched_elbo import Evaluation, evaluate

# Matrices of this dimension take a second to factor; and elements computed for one curvature.
LARGEST_DENSE, MOST_CURVATURE_WORK = 2048, 3e10

# Precisions shrink by no more than this factor in a step.
FLOOR = 0.25
MOST_STEPS = 4

# A guide must beat another by so many standard errors of the difference.
CLEARLY = 2.0

_Pair = tuple[Evaluation, Evaluation]


def affordable(dim: int, work: float) -> bool:
    """Whether a full covariance can be had by linear response.

    Args:
        dim: number of latent coordinates.
        work: elements computed for one gradient.
    """
    return dim <= LARGEST_DENSE and curvature_cost(dim) * work <= MOST_CURVATURE_WORK


class DenseFit:
    """Finds a full covariance from a fitted mean-field Gaussian.

    Args:
        monitor: the watched batch function.
        rng: source of the draws.
        resolution: relative rounding error of a log density.
        tolerance: ELBO in nats that may be lost.
    """

    def __init__(
        self, monitor: Monitor, rng: np.random.Generator, resolution: float, tolerance: float
    ):
        self._monitor = monitor
        self._rng = rng
        self._resolution = resolution
        self._tolerance = tolerance

    def run(self, outcome: Outcome) -> Outcome:
        """Return the best Gaussian of full covariance found, or the mean-field one if it is better.

        The outcome has not converged where more is to be had than the tolerance.

        Args:
            outcome: the fitted mean-field Gaussian.

        Raises:
            OutOfTime: the budget is spent; the monitor has the best so far.
        """
        self._monitor.best = outcome.guide
        diagonal = self._evaluate(outcome.guide)
        if efficient(log_ratios(diagonal)):
            return outcome
        pairs = [self._evaluate(guide) for guide in self._candidates(diagonal)]
        pairs = [pair for pair in pairs if np.isfinite(_loss(pair))]
        if not pairs:
            return dataclasses.replace(outcome, verdict=_NO_COVARIANCE)
        best, gap = self._improve(min(pairs, key=_loss))
        rungs = {"mean-field": log_ratios(diagonal), "full-rank": log_ratios(best)}
        if not better(rungs["full-rank"], rungs["mean-field"]):
            self._monitor.best = outcome.guide
            return dataclasses.replace(outcome, verdict=_NO_COVARIANCE)
        return Outcome(best[0].guide, _verdict(gap, self._tolerance), rungs)

    def _candidates(self, diagonal: _Pair) -> list[FullRankNormal]:
        guide: MeanFieldNormal = diagonal[0].guide
        noise = matched_noise(CURVATURE_DRAWS, guide.dim, self._rng)
        rounding = self._resolution * abs(_loss(diagonal))
        found = curvature(self._monitor, guide, noise, rounding)
        if found is None:
            return []
        covariances = [found.linear_response(), found.mean_precision()]
        roots = [cholesky(covariance) for covariance in covariances if covariance is not None]
        return [FullRankNormal(guide.loc, root) for root in roots if root is not None]

    def _evaluate(self, guide: GaussianGuide) -> _Pair:
        family = FullRankFamily()
        draws = family.first_draws(guide.dim)
        sets = [matched_noise(draws, guide.dim, self._rng) for _ in range(2)]
        first, second = (evaluate(self._monitor, guide, noise) for noise in sets)
        return first, second

    def _improve(self, pair: _Pair) -> tuple[_Pair, float]:
        """Take steps as long as both sets of draws see more to gain than the tolerance."""
        gap = np.inf
        for number in range(MOST_STEPS + 1):
            first, second = (FullRankStep(evaluation) for evaluation in pair)
            shared = np.maximum(first.product(second), 0.0)
            gap = float(shared.sum())
            self._monitor.record(pair[0], "linear response", gap)
            if gap <= self._tolerance or number == MOST_STEPS:
                break
            joint = FullRankStep(_joined(pair))
            # What the sets share is the signal; the rest of a step is noise, and would be lost.
            seen = np.maximum(joint.product(joint), 1e-300)
            along, size = np.minimum(shared / seen, 1.0)
            moved = self._evaluate(joint.guide(float(size), FLOOR, float(along)))
            if not _loss(moved) < _loss(pair):
                break
            pair = moved
        return pair, gap


def log_ratios(pair: _Pair) -> np.ndarray:
    """Return log p - log q at all draws of evaluations of one guide."""
    guide = pair[0].guide
    log_q = [guide.log_prob(guide.transform(evaluation.noise)) for evaluation in pair]
    return np.concatenate([evaluation.values for evaluation in pair]) - np.concatenate(log_q)


def better(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the ELBO of the first log ratios is clearly higher than that of the second."""
    if not np.isfinite(second).all() or not np.isfinite(first).all():
        return bool(np.isfinite(first).all())
    error = np.hypot(*(ratios.std() / np.sqrt(len(ratios)) for ratios in (first, second)))
    return bool(first.mean() - second.mean() > CLEARLY * error)


def _loss(pair: _Pair) -> float:
    return 0.5 * (pair[0].loss + pair[1].loss)


def _joined(pair: _Pair) -> Evaluation:
    one, other = pair
    return Evaluation(
        one.guide,
        np.concatenate([one.noise, other.noise]),
        _loss(pair),
        np.concatenate([one.values, other.values]),
        np.concatenate([one.gradients, other.gradients]),
    )


_NO_COVARIANCE = Verdict(
    False, "evaluations", "no full covariance was found that is better than independence"
)


def _verdict(gap: float, tolerance: float) -> Verdict:
    if gap <= tolerance:
        message = (
            "the optimiser converged; the covariance by linear response is expected to be within "
            f"{gap:.2g} nat of the best Gaussian"
        )
        return Verdict(True, "converged", message, gap)
    message = (
        f"the covariance by linear response has an expected gap of {gap:.2g} nat "
        f"(wanted {tolerance:.2g})"
    )
    return Verdict(False, "gradients", message, gap)
