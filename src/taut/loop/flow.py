"""Bending a fitted Gaussian into a flow: take on terms, fit them, look again on fresh noise.

Nothing is traced or compiled for it. Each round fits the coefficients on one set of draws; a fresh,
larger set then shows how much of the gain was only fitted to the old one, and which terms are still
missing.
"""

import dataclasses

import numpy as np
import scipy.special

from taut.guides.full_rank import FullRankNormal
from taut.guides.guide import standard_log_prob
from taut.guides.mixture_normal import MixtureNormal
from taut.guides.noise import matched_noise, power_of_two
from taut.guides.triangular import TriangularFlow
from taut.loop.allowance import allowed_gradients
from taut.loop.dense import better
from taut.loop.descent import descend
from taut.loop.efficiency import efficient
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.stages import Outcome, default_tolerance
from taut.loop.verdict import Verdict
from taut.objectives.flow_chart import TermsChart
from taut.objectives.flow_terms import Terms, grow
from taut.objectives.triangular import FlowEvaluation, evaluate_flow
from taut.posterior.draws import Draws

# More draws are taken where the coefficients are fitted to those by so many nats.
FEWEST_DRAWS, MOST_DRAWS, LARGEST_DRAWS = 512, 1024, 4096
OVERFITTED = 0.1
DRAWS_PER_DIM, ENOUGH_DRAWS = 8, 2048
MOST_ROUNDS = 5
EVALUATIONS_PER_ROUND = 40

# What is left to gain matters less than for a Gaussian: chains go on from a flow.
LOOSER = 2.0

# A flow must beat its Gaussian by so many standard errors of the difference.
CLEARLY = 2.0

# Nats of one draw beyond which a gain is no longer counted.
MOST_GAIN = 1.0

# Of the mass, what other solutions may have where a flow around the first is tried.
NEXT_TO_NOTHING = 0.01

# A flow hardly covers what is denser than it is by this factor.
THIN = 10.0

# A coordinate whose sd is this share of its distance from the Gaussian's middle has none.
NO_SPREAD = 1e-8

# Nats that a term must promise.
LEAST_GAIN = 5e-4

# A round ends where steps gain less than this share of the tolerance, and the last round is one
# that gains less than it.
FINISHED = 0.25


class FlowFit:
    """Fits a flow around a Gaussian.

    Args:
        monitor: the watched batch function.
        rng: source of the draws.
        resolution: relative rounding error of a log density.
        tolerance: ELBO in nats that may be lost.
        most: gradients after which no further round begins.
    """

    def __init__(
        self,
        monitor: Monitor,
        rng: np.random.Generator,
        resolution: float,
        tolerance: float,
        most: float,
    ):
        self._monitor = monitor
        self._rng = rng
        self._resolution = resolution
        self._tolerance = tolerance
        self._last = monitor.gradients + most

    def run(self, outcome: Outcome, always: bool = False) -> Outcome:
        """Return a flow that is better than a fitted Gaussian, or the Gaussian as it was.

        Args:
            outcome: the fitted full-rank Gaussian.
            always: bend it even where its draws are nearly as good as independent ones.

        Raises:
            OutOfTime: the budget is spent; the monitor has the best so far.
        """
        self._monitor.best = outcome.guide
        gaussian = TriangularFlow.around(outcome.guide)
        dim = gaussian.dim
        wanted = min(DRAWS_PER_DIM * dim, max(ENOUGH_DRAWS, 2 * dim))
        draws = max(FEWEST_DRAWS, power_of_two(wanted))
        most_draws = max(MOST_DRAWS, draws)
        evaluation = self._evaluate(gaussian, draws)
        if not np.isfinite(evaluation.loss) or (not always and efficient(_log_ratios(evaluation))):
            return outcome
        terms, gap, noise, kept, settled = Terms.none(dim), np.inf, np.inf, None, False
        for number in range(MOST_ROUNDS):
            if not evaluation.blocks:
                break
            grown = grow(terms, evaluation, LEAST_GAIN)
            if settled and grown.size == terms.size:
                break
            terms = grown
            fitted, decrease = self._optimise(terms, evaluation)
            draws = min(2 * draws, most_draws)
            fresh = self._evaluate(fitted.guide, draws)
            if not np.isfinite(fresh.loss):
                # Fitted to so few draws that others fall where there is no density.
                most_draws = 2 * most_draws
                evaluation = self._evaluate(evaluation.guide, draws)
                continue
            evaluation = fresh
            gain = np.inf if kept is None else self._gain(kept.guide, fresh)
            # The truth lies between a loss on the draws it was fitted to and one on fresh draws.
            overfitted = 0.5 * max(fresh.loss - fitted.loss, 0.0)
            within = max(overfitted, decrease if number else 0.0)
            self._monitor.record(evaluation, "flow", within)
            if kept is None or gain > 0.0:
                kept, gap, noise = fresh, within, overfitted
            else:
                # Nothing was left to win but what the draws of the kept one hid.
                gap = min(gap, noise)
            self._monitor.best = kept.guide
            more = overfitted > OVERFITTED and most_draws < LARGEST_DRAWS
            if more:
                most_draws = min(2 * most_draws, LARGEST_DRAWS)
            settled = overfitted < self._tolerance and decrease < self._tolerance
            finished = gain < FINISHED * self._tolerance and not more
            if self._monitor.gradients > self._last or finished:
                break
        rungs = {} if kept is None else self._compare(kept, gaussian)
        if kept is None or not _better(rungs["flow"], rungs["full-rank"]) or _wild(kept.guide):
            self._monitor.best = outcome.guide
            return outcome
        self._monitor.best = kept.guide
        return Outcome(kept.guide, _verdict(outcome.verdict, gap), {**outcome.rungs, **rungs})

    def _evaluate(self, guide: TriangularFlow, draws: int) -> FlowEvaluation:
        noise = matched_noise(draws, guide.dim, self._rng)
        return evaluate_flow(self._monitor, guide, noise)

    def _gain(self, before: TriangularFlow, fresh: FlowEvaluation) -> float:
        """Return the nats won over a flow fitted before, on draws that neither was fitted to."""
        return evaluate_flow(self._monitor, before, fresh.noise).loss - fresh.loss

    def _optimise(self, terms: Terms, start: FlowEvaluation) -> tuple[FlowEvaluation, float]:
        """Fit the free coefficients on the draws of an evaluation; return also the nats gained."""
        guide = terms.flow(start.guide)
        chart = TermsChart(guide, terms)
        first = start.at(guide)
        prepared = [block.layers.noise for block in first.blocks]
        best, _ = descend(
            first,
            lambda point: evaluate_flow(self._monitor, chart.guide(point), start.noise, prepared),
            lambda point, evaluation: chart.gradient(evaluation),
            chart.size,
            lambda evaluation: FINISHED * self._tolerance,
            self._monitor,
            "flow",
            self._resolution,
            EVALUATIONS_PER_ROUND,
            self._last,
        )
        return best, first.loss - best.loss

    def _compare(self, flow: FlowEvaluation, gaussian: TriangularFlow) -> dict[str, np.ndarray]:
        other = evaluate_flow(self._monitor, gaussian, flow.noise)
        return {"full-rank": _log_ratios(other), "flow": _log_ratios(flow)}


def _better(flow: np.ndarray, gaussian: np.ndarray) -> bool:
    gains = flow - gaussian
    if not np.isfinite(gains).all():
        return True
    # A draw far out that gains very much hides a gain of all others behind its scatter. With such
    # draws cut down the mean is too small, and a clear gain is one all the more.
    return any(
        kept.mean() > CLEARLY * kept.std() / np.sqrt(len(kept))
        for kept in (gains, np.minimum(gains, MOST_GAIN))
    )


def _wild(guide: TriangularFlow) -> bool:
    """Whether the map is beyond its arithmetic.

    A draw farther out than those it was fitted to may overflow; and where a tail weight is next to
    zero all draws are the same number, whose Jacobian still counts as spread.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sd, shift = guide.sd(), np.abs(guide.mean() - guide.loc)
    return not (np.isfinite(sd).all() and (sd > NO_SPREAD * shift).all())


def _log_ratios(evaluation: FlowEvaluation) -> np.ndarray:
    log_q = standard_log_prob(evaluation.noise) - evaluation.log_det
    return evaluation.values - log_q


def _verdict(before: Verdict, gap: float) -> Verdict:
    message = (
        "the optimiser converged; the flow is expected to be within "
        f"{gap:.2g} nat of the best of its terms"
    )
    return dataclasses.replace(
        before, converged=True, reason="converged", message=message, expected_gap=gap
    )


def climb(
    name: str,
    outcome: Outcome,
    monitor: Monitor,
    rng: np.random.Generator,
    resolution: float,
    work: float,
    misfit: Draws | None = None,
    spent: int | None = None,
) -> Outcome:
    """Go on to a flow from what the search fitted, where the guide's name allows it and it helps.

    Args:
        name: "auto" bends a Gaussian that is not good enough, one of a mixture with nearly all of
            its mass, or what a mixture that is not good enough is made of; "flow" any Gaussian;
            others stay.
        outcome: the fitted guide.
        monitor: the watched batch function.
        rng: source of the draws.
        resolution: relative rounding error of a log density.
        work: elements computed for one gradient.
        misfit: draws of the guide, if they are known not to be good enough.
        spent: gradients that the search took; by default all so far.
    """
    guide = outcome.guide
    spent = monitor.gradients if spent is None else spent
    left = spent + allowed_gradients(work, spent) - monitor.gradients
    most = np.inf if name == "flow" else left
    if name not in ("auto", "flow") or most <= 0 or outcome.verdict.reason == "non-finite":
        return outcome
    fit = FlowFit(monitor, rng, resolution, LOOSER * default_tolerance(guide.dim), most)
    if isinstance(guide, FullRankNormal):
        return fit.run(outcome, name == "flow" or misfit is not None)
    if isinstance(guide, MixtureNormal) and misfit is not None:
        return _around_all(fit, outcome, monitor, misfit)
    if isinstance(guide, MixtureNormal) and guide.weights.max() > 1.0 - NEXT_TO_NOTHING:
        return _instead_of(fit, outcome, monitor, rng)
    return outcome


def _instead_of(
    fit: FlowFit, outcome: Outcome, monitor: Monitor, rng: np.random.Generator
) -> Outcome:
    """Bend the one solution of a mixture that has nearly all of the mass, if that is better.

    The neck of a funnel, where a density may have no bound, stands apart from the rest of it.
    """
    mixture = outcome.guide
    main = mixture.components[int(mixture.weights.argmax())]
    bent = _tried(fit, outcome, main, monitor)
    if isinstance(bent.guide, TriangularFlow):
        z, log_q = mixture.draw(MOST_DRAWS, rng)
        seen, flow = monitor(z)[0] - log_q, bent.rungs["flow"]
        # Where the others are not within the flow it lacks them, but not by more than their mass.
        if better(flow - NEXT_TO_NOTHING, seen):
            return dataclasses.replace(bent, rungs={"mixture": seen, **bent.rungs})
    monitor.best = mixture
    return outcome


def _around_all(fit: FlowFit, outcome: Outcome, monitor: Monitor, drawn: Draws) -> Outcome:
    """Bend the Gaussian of a mixture's moments, if that is better and leaves no solution out.

    The ends of a crescent look like solutions of their own, with a dip on the line between them.
    """
    mixture = outcome.guide
    bent = _tried(fit, outcome, mixture.matched(), monitor)
    if isinstance(bent.guide, TriangularFlow):
        seen, flow = drawn.log_ratios, bent.rungs["flow"]
        if better(flow, seen) and _lacking(bent.guide, flow, drawn) < NEXT_TO_NOTHING:
            return dataclasses.replace(bent, rungs={"mixture": seen, "flow": flow}, joined=True)
    monitor.best = mixture
    return outcome


def _tried(fit: FlowFit, outcome: Outcome, start: FullRankNormal, monitor: Monitor) -> Outcome:
    """Bend another guide than the one fitted, which stays the best if there is no time for it."""
    try:
        return fit.run(dataclasses.replace(outcome, guide=start), always=True)
    except (OutOfTime, KeyboardInterrupt):
        monitor.best = outcome.guide
        raise


def _lacking(flow: TriangularFlow, log_ratios: np.ndarray, drawn: Draws) -> float:
    """Return the share of the mass at another guide's draws that a flow hardly covers."""
    log_evidence = scipy.special.logsumexp(log_ratios) - np.log(len(log_ratios))
    mass = np.exp(drawn.log_ratios - drawn.log_ratios.max())
    # Far out of the flow its inverse overflows: there it covers nothing.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        thin = ~(drawn.log_p - log_evidence - flow.log_prob(drawn.z) <= np.log(THIN))
    return float(mass[thin].sum() / mass.sum())
