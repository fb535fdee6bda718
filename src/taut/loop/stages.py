"""Fitting a Gaussian: natural gradient on few draws, then as many draws as the result needs.

Each stage fixes a set of draws and optimises on it no further than its own Monte Carlo resolution.
The scatter of the per-draw natural gradient says how much ELBO is expected to be lost by using so
few draws; while that is more than the tolerance, the next stage takes more. The last factor of
accuracy comes from fresh draws, each used for one averaged step.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from taut.guides.noise import power_of_two
from taut.loop.descent import descend
from taut.loop.monitor import Monitor
from taut.loop.verdict import Verdict
from taut.objectives.matched_elbo import Evaluation, Family, evaluate
from taut.solvers.natural_gradient import NaturalGradient

MOST_DRAWS = 16384
MOST_STAGES = 8
EVALUATIONS_PER_STAGE = 150
POLISH_WITHIN = 10.0
POLISH_FLOOR = 0.25
MOST_POLISH = 40
HALVINGS = 40


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A fitted guide and why the fit stopped.

    Attributes:
        guide: the guide.
        verdict: why the fit stopped.
        rungs: for each guide that was compared, by name, its log p - log q at draws of its own.
        joined: the guide is one piece and reaches around all solutions that the search found.
    """

    guide: Any
    verdict: Verdict
    rungs: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    joined: bool = False


@dataclasses.dataclass(frozen=True)
class _Stage:
    evaluation: Evaluation
    settled: bool
    gap: float


def default_tolerance(dim: int) -> float:
    """ELBO in nats that may be lost: 0.01, more in high dimension."""
    return 0.01 * max(1.0, dim / 20.0)


class GaussianFit:
    """Runs the stages for one family on one target.

    Args:
        family: geometry of the guide.
        monitor: the watched batch function.
        rng: source of the draws.
        resolution: relative rounding error of a log density.
        tolerance: ELBO in nats that may be lost.
        halvings_allowed: how often `run` may narrow a guide before it gives up.

    Attributes:
        halvings: how often a guide had to be narrowed because a draw had no finite density.
    """

    def __init__(
        self,
        family: Family,
        monitor: Monitor,
        rng: np.random.Generator,
        resolution: float,
        tolerance: float,
        halvings_allowed: float = np.inf,
    ):
        self._family = family
        self._monitor = monitor
        self._rng = rng
        self._resolution = resolution
        self._tolerance = tolerance
        self._natural = NaturalGradient(family, monitor, resolution)
        self._halvings_allowed = halvings_allowed
        self.halvings = 0

    def settle(self, guide: Any, draws: int, tolerance: float, steps: int) -> Evaluation:
        """Take a few natural-gradient steps on one set of draws, to compare starts by."""
        evaluation = self._begin(guide, draws)
        state = self._natural.init(evaluation)
        for _ in range(steps):
            state = self._natural.step(state)
            if not state.moved or state.decrease < tolerance:
                break
            self._monitor.record(state.evaluation, "start")
        return state.evaluation

    def run(self, guide: Any) -> Outcome:
        """Fit a guide from a start."""
        draws = self._family.first_draws(guide.dim)
        tolerance, gap = self._tolerance, np.inf
        self.halvings = 0
        for number in range(MOST_STAGES):
            stage = self._stage(guide, draws, thorough=number > 0)
            if not np.isfinite(stage.evaluation.loss) or self.halvings > self._halvings_allowed:
                return Outcome(guide, _NON_FINITE)
            guide, gap = stage.evaluation.guide, stage.gap
            if stage.settled and gap <= tolerance:
                return Outcome(guide, _converged(gap))
            if draws >= MOST_DRAWS:
                return Outcome(guide, _not_converged(stage.settled, gap, tolerance))
            need = gap * draws / tolerance
            if stage.settled and number > 0 and gap <= POLISH_WITHIN * tolerance:
                polished = self._polish(guide, draws, gap)
                if polished is not None:
                    return Outcome(polished.guide, _converged(polished.verdict.expected_gap))
            if gap > tolerance:
                wanted = max(2 * draws, power_of_two(min(need / 3.0, 16.0 * draws)))
                draws = min(MOST_DRAWS, wanted)
        return Outcome(guide, _not_converged(stage.settled, gap, tolerance))

    def _begin(self, guide: Any, draws: int) -> Evaluation:
        noise = self._family.noise(draws, guide, self._rng)
        evaluation = evaluate(self._monitor, guide, noise)
        for _ in range(HALVINGS):
            if np.isfinite(evaluation.loss):
                break
            self.halvings += 1
            guide = self._family.shrink(guide, 0.5)
            evaluation = evaluate(self._monitor, guide, noise)
        return evaluation

    def _stage(self, guide: Any, draws: int, thorough: bool) -> _Stage:
        evaluation = self._begin(guide, draws)
        if not np.isfinite(evaluation.loss):
            return _Stage(evaluation, False, np.inf)
        evaluation, tried, finished = self._natural_steps(evaluation, thorough)
        settled = finished
        if not finished and tried < EVALUATIONS_PER_STAGE:
            evaluation, settled = self._quasi_newton(evaluation, EVALUATIONS_PER_STAGE - tried)
        gap = self._gap(evaluation)
        self._monitor.record(evaluation, "natural gradient" if finished else "l-bfgs", gap)
        return _Stage(evaluation, settled, gap)

    def _gap(self, evaluation: Evaluation) -> float:
        return self._family.scatter(evaluation) / (2.0 * evaluation.draws)

    def _goal(self, evaluation: Evaluation) -> float:
        """Decreases below this are beyond what the draws can resolve."""
        rounding = self._resolution * abs(evaluation.loss)
        return max(0.1 * self._tolerance, 0.2 * self._gap(evaluation), rounding)

    def _natural_steps(
        self, evaluation: Evaluation, thorough: bool
    ) -> tuple[Evaluation, int, bool]:
        state = self._natural.init(evaluation)
        previous, slow = None, 0
        while state.tried < EVALUATIONS_PER_STAGE:
            goal = self._goal(state.evaluation)
            state = self._natural.step(state)
            if not state.moved:
                break
            decrease = state.decrease
            self._monitor.record(state.evaluation, "natural gradient", self._gap(state.evaluation))
            if thorough:
                # The Fisher metric underestimates flat valleys, so later stages go on below.
                break
            # A sequence that shrinks by this ratio has ratio / (1 - ratio) times as much to go.
            ratio = 0.5 if previous is None else min(decrease / max(previous, 1e-300), 0.97)
            if decrease * max(1.0, ratio / (1.0 - ratio)) < goal:
                return state.evaluation, state.tried, True
            if decrease < goal or (previous is not None and 0.5 * previous < decrease < 1.0):
                slow += 1
            previous = decrease
            if slow >= 3:
                break
        return state.evaluation, state.tried, False

    def _quasi_newton(self, evaluation: Evaluation, allowed: int) -> tuple[Evaluation, bool]:
        chart = self._family.chart(evaluation.guide)
        return descend(
            evaluation,
            lambda point: evaluate(self._monitor, chart.guide(point), evaluation.noise),
            chart.gradient,
            chart.size,
            self._goal,
            self._monitor,
            "l-bfgs",
            self._resolution,
            allowed,
        )

    def _polish(self, guide: Any, draws: int, gap: float) -> Outcome | None:
        """Average natural-gradient steps over fresh draws; None if they disagree with the guide."""
        scatters = [2.0 * gap * draws]
        used, steps = draws, 1
        while used < np.mean(scatters) / (2.0 * self._tolerance) or steps < 2:
            if steps > MOST_POLISH:
                break
            noise = self._family.noise(draws, guide, self._rng)
            evaluation = evaluate(self._monitor, guide, noise)
            if not np.isfinite(evaluation.loss):
                return None
            direction = self._family.natural_step(evaluation)
            if direction is None:
                return None
            scatter = self._family.scatter(evaluation)
            expected = max(scatter, np.mean(scatters)) / (2.0 * draws)
            if direction.norm > 6.0 * expected + self._tolerance:
                return None
            scatters.append(scatter)
            guide = direction.guide(1.0 / (steps + 1), POLISH_FLOOR)
            steps += 1
            used += draws
            remaining = float(np.mean(scatters)) / (2.0 * used)
            self._monitor.record(evaluation, "polish", remaining)
            self._monitor.best = guide
        return Outcome(guide, _converged(float(np.mean(scatters)) / (2.0 * used)))


_NON_FINITE = Verdict(
    False, "non-finite", "the log density is not finite at a share of any guide's draws"
)


def _converged(gap: float) -> Verdict:
    message = f"the optimiser converged; expected to be within {gap:.2g} nat of the best ELBO"
    return Verdict(True, "converged", message, gap)


def _not_converged(settled: bool, gap: float, tolerance: float) -> Verdict:
    if settled:
        message = (
            f"stopped at the largest number of draws with an expected gap of {gap:.2g} nat "
            f"(wanted {tolerance:.2g})"
        )
        return Verdict(False, "gradients", message, gap)
    message = f"stopped before the optimiser settled; expected gap at least {gap:.2g} nat"
    return Verdict(False, "evaluations", message, gap)
