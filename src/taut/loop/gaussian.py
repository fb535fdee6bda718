"""From a target to a fitted Gaussian of the family asked for, or a mixture of them."""

import dataclasses
from typing import Any

import numpy as np

from taut.guides.full_rank import FullRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.mixture_normal import MixtureNormal
from taut.loop.basins import Basin, settle_basins
from taut.loop.dense import DenseFit, affordable, better, log_ratios
from taut.loop.mixture import fit_mixture
from taut.loop.monitor import Monitor
from taut.loop.stages import GaussianFit, Outcome, default_tolerance
from taut.loop.starts import (
    LARGEST_FULL_RANK,
    Candidate,
    default_starts,
    draw_starts,
    search,
    tempered_starts,
    wide_starts,
)
from taut.loop.verdict import Verdict
from taut.objectives.full_rank import FullRankFamily
from taut.objectives.low_rank import LowRankFamily, default_rank, widen
from taut.objectives.matched_elbo import Family, evaluate
from taut.objectives.mean_field import MeanFieldFamily

FAMILIES: dict[str, type[Family]] = {
    "full-rank": FullRankFamily,
    "mean-field": MeanFieldFamily,
    "low-rank": LowRankFamily,
}

GUIDE_NAMES = ("auto", *FAMILIES, "mixture", "flow")

# Starts far out, to look for other solutions: always, and again once several were found, until a
# search brings nothing new and each was reached from two starts or more. They need not arrive at a
# mode, only show where it is.
WIDE_STARTS, MORE_WIDE_STARTS = 16, (48, 96, 96)
MOST_COMPONENTS = 16

# A wide candidate's ELBO on a few draws may lie this far below the best, and twice the dimension:
# its Gaussian is a rough one.
ROUGH = 9.0

# In single precision a guide that must be narrowed more often than this has met rounding.
HALVINGS_IN_SINGLE = 4

# A relative rounding error above this is single precision's.
SINGLE = 1e-8

# Rounding errors of one log density above this many nats call for double precision.
ROUNDING_ALLOWED = 0.05

# Draws that show a mean-field fit the directions it is too narrow in.
WIDENING_DRAWS = 512

_TOO_COARSE = Verdict(False, "rounding", "single precision rounds the log density too much")


class GaussianSearch:
    """Start search, comparison of what it found, and the fit of the best.

    Args:
        name: one of `GUIDE_NAMES`; a flow begins as a full-rank Gaussian.
        modes: search all the further starts, whatever the first ones found.
        dim: number of latent coordinates.
        monitor: the watched batch function.
        resolution: relative rounding error of a log density.
        start_rng: source of the starts.
        fit_rng: source of the draws.
        work: elements computed for one gradient.
    """

    def __init__(
        self,
        name: str,
        modes: bool,
        dim: int,
        monitor: Monitor,
        resolution: float,
        start_rng: np.random.Generator,
        fit_rng: np.random.Generator,
        work: float = 0.0,
    ):
        self._may_mix = dim <= LARGEST_FULL_RANK and name in ("auto", "mixture")
        self._may_be_dense = name == "auto" and affordable(dim, work)
        self._modes = modes
        if name == "auto":
            name = "full-rank" if dim <= LARGEST_FULL_RANK else "low-rank"
        elif name == "flow":
            name = "full-rank"
        self._name = name
        self._dim = dim
        self._monitor = monitor
        self._resolution = resolution
        # The wide starts leave those of every family as they are.
        self._start_rng, self._wide_rng = start_rng, start_rng.spawn(1)[0]
        self._fit_rng = fit_rng
        self.starts = default_starts(dim)
        self.settled_loss = np.inf
        self.found: list[Basin] = []

    def run(self) -> Outcome:
        """Fit.

        Raises:
            NoFiniteStart: no start has a finite log density.
            OutOfTime: the budget is spent; the monitor has the best so far.
        """
        starts = draw_starts(self._monitor, self._dim, self.starts, self._start_rng)
        self.starts = len(starts)
        wide = None
        if self._may_mix:
            wide = wide_starts(self._monitor, self._dim, WIDE_STARTS, self._wide_rng)
        candidates = search(self._monitor, starts, self._start_rng, wide)
        candidates = self._near(candidates, len(starts), candidates[0].elbo)
        if self._name in ("full-rank", "mixture"):
            return self._fit(FullRankFamily(), [_with(c, _full(c.guide)) for c in candidates])
        narrow = [_with(c, _diagonal(c.guide)) for c in candidates]
        outcome = self._fit(MeanFieldFamily(), narrow)
        if self._name == "mean-field" or outcome.verdict.reason in ("non-finite", "rounding"):
            return outcome
        if not self._may_be_dense:
            return self._low_rank(outcome)
        tolerance = default_tolerance(self._dim)
        dense = DenseFit(self._monitor, self._fit_rng, self._resolution, tolerance).run(outcome)
        if dense.verdict.converged:
            # Every low-rank Gaussian is among those of full covariance.
            return dense
        return self._best_of(dense, self._low_rank(outcome))

    def _low_rank(self, outcome: Outcome) -> Outcome:
        noise = MeanFieldFamily().noise(WIDENING_DRAWS, outcome.guide, self._fit_rng)
        seen = evaluate(self._monitor, outcome.guide, noise)
        return self._runner(LowRankFamily()).run(widen(seen, default_rank(self._dim)))

    def _best_of(self, dense: Outcome, low: Outcome) -> Outcome:
        """Compare a full covariance that is not quite the best one with the low-rank Gaussian."""
        if not dense.rungs or low.verdict.reason == "non-finite":
            return dense if dense.rungs else low
        rng, family = self._fit_rng, LowRankFamily()
        noise = [family.noise(WIDENING_DRAWS, low.guide, rng) for _ in range(2)]
        first, second = (evaluate(self._monitor, low.guide, draws) for draws in noise)
        rungs = {**dense.rungs, "low-rank": log_ratios((first, second))}
        if better(rungs["low-rank"], rungs["full-rank"]):
            return dataclasses.replace(low, rungs=rungs)
        rungs["full-rank"] = rungs.pop("full-rank")
        self._monitor.best = dense.guide
        return dataclasses.replace(dense, rungs=rungs)

    def _fit(self, family: Family, candidates: list[Candidate]) -> Outcome:
        runner = self._runner(family)
        draws = family.first_draws(self._dim)
        found = settle_basins(runner, self._monitor, candidates, draws)
        if not found:
            return runner.run(candidates[0].guide)
        self.settled_loss, self.found = found[0].evaluation.loss, found
        if self._rounded():
            # All of this is going to be done again in double precision.
            return Outcome(found[0].evaluation.guide, _TOO_COARSE)
        if self._may_mix and (len(found) > 1 or self._modes):
            found = self._search_further(runner, found, draws)
            self.settled_loss, self.found = found[0].evaluation.loss, found
        if self._name == "mixture" or (self._may_mix and len(found) > 1):
            outcome, self.found = fit_mixture(runner, self._monitor, found, self._fit_rng)
            return outcome if self._name == "mixture" else _simplest(outcome)
        return runner.run(found[0].evaluation.guide)

    def _near(self, candidates: list[Candidate], first: int, best: float) -> list[Candidate]:
        """Leave out wide starts that climbed to nothing; count the others among the starts."""
        lowest = best - ROUGH - 2.0 * self._dim
        near = [c for c in candidates if c.path < first or c.elbo > lowest]
        self.starts += sum(c.path >= first for c in near)
        return near

    def _search_further(self, runner: GaussianFit, found: list[Basin], draws: int) -> list[Basin]:
        for count in MORE_WIDE_STARTS:
            before = len(found)
            best = found[0].evaluation.guide
            wide = wide_starts(self._monitor, self._dim, count, self._wide_rng, best)
            found = self._climb_from(wide, runner, found, draws)
            complete = len(found) <= before and all(basin.hits > 1 for basin in found)
            if complete and not self._modes:
                break
        if self._modes:
            wide = tempered_starts(self._monitor, found[0].evaluation.guide, self._wide_rng)
            found = self._climb_from(wide, runner, found, draws)
        return found

    def _climb_from(
        self, wide: np.ndarray, runner: GaussianFit, found: list[Basin], draws: int
    ) -> list[Basin]:
        if len(wide) == 0:
            return found
        candidates = search(self._monitor, wide[:0], self._wide_rng, wide)
        best = found[0].evaluation
        self._monitor.best = best.guide
        candidates = self._near(candidates, 0, -best.loss)
        candidates = [_with(c, _full(c.guide)) for c in candidates]
        return settle_basins(runner, self._monitor, candidates, draws, found, MOST_COMPONENTS)

    def _runner(self, family: Family) -> GaussianFit:
        return GaussianFit(
            family,
            self._monitor,
            self._fit_rng,
            self._resolution,
            default_tolerance(self._dim),
            HALVINGS_IN_SINGLE if self._resolution > SINGLE else np.inf,
        )

    def fallback(self) -> Any:
        """Return a narrow guide at the best of a few points, for a fit stopped before its first."""
        starts = draw_starts(self._monitor, self._dim, self.starts, self._start_rng)
        values, _ = self._monitor(starts)
        best = FullRankNormal(starts[values.argmax()], 0.1 * np.eye(self._dim))
        return best if self._name in ("full-rank", "mixture") else _diagonal(best)

    def _rounded(self) -> bool:
        """Whether rounding errors of one log density are too large, in single precision."""
        coarse = self._resolution * abs(self.settled_loss) > ROUNDING_ALLOWED
        return coarse and self._resolution > SINGLE

    def needs_double(self, outcome: Outcome) -> str:
        """Say why single precision was not enough, or return an empty string."""
        if self._resolution <= SINGLE or outcome.verdict.reason in ("budget", "interrupted"):
            return ""
        if outcome.verdict.reason == "non-finite":
            return "the log density is not finite at many draws"
        if outcome.verdict.reason == "evaluations":
            return "the optimiser did not settle"
        if self._rounded():
            return f"a log density of size {abs(self.settled_loss):.1g} is rounded too much"
        return ""


def _simplest(outcome: Outcome) -> Outcome:
    guide = outcome.guide
    if isinstance(guide, MixtureNormal) and len(guide.weights) == 1:
        return Outcome(guide.components[0], outcome.verdict)
    return outcome


def _with(candidate: Candidate, guide: Any) -> Candidate:
    return Candidate(candidate.path, candidate.elbo, guide)


def _full(guide: Any) -> FullRankNormal:
    if isinstance(guide, FullRankNormal):
        return guide
    return FullRankNormal(guide.loc, np.diag(guide.scale))


def _diagonal(guide: Any) -> MeanFieldNormal:
    if isinstance(guide, MeanFieldNormal):
        return guide
    # The best independent Gaussian has the conditional, not the marginal, standard deviations.
    inverse = np.linalg.inv(guide.scale_tril)
    return MeanFieldNormal(guide.loc, 1.0 / np.sqrt((inverse**2).sum(axis=0)))
