"""From numbers to one word: can this fit be believed, and why.

The word is about the draws that `sample` returns. "trusted": the guide itself agreed with every
check. "usable": the guide was off, its draws were corrected, and the correction settled. "not
trusted": a check failed in a way that correction cannot be relied on to mend.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from taut._core.errors import first_few
from taut.diagnostics.dips import dip_finding
from taut.diagnostics.finding import HARMLESS_MASS, MEAN_ERROR, SD_RATIO, Finding
from taut.diagnostics.improper import endless_finding
from taut.diagnostics.psis import REFERENCE as PSIS_REFERENCE
from taut.diagnostics.psis import Weights, log_mean
from taut.diagnostics.response import response_finding
from taut.diagnostics.short_hmc import REFERENCE as HMC_REFERENCE
from taut.diagnostics.short_hmc import Chains
from taut.diagnostics.solutions import Solutions, solutions_finding, unseen_finding
from taut.diagnostics.tails import Tail
from taut.loop.stages import default_tolerance
from taut.loop.verdict import Verdict

# Beyond these the guide was so far off that the short chains may not have arrived either.
LARGE_DRIFT = 0.5
LARGE_RATIO = 2.0
EXCELLENT_EFFICIENCY = 0.95
ENOUGH_EFFICIENCY = 0.10
NOT_NEEDED_EFFICIENCY = 0.90
FEW_DRAWS = 100.0

# So many standard errors.
CLEARLY = 2.0

# What a single draw may hold of the mass that a guide is much too small for: three sds away it
# shifts a mean by what a reader would notice.
HARMLESS_DRAW = MEAN_ERROR / 3.0

# Chains do not cross between solutions, so their shares rest on the weights, whose means have a
# standard error only below this k-hat.
SURE_SHARES = 0.5

# Share of trajectories that may diverge. Fits of posteriors with known answers that came out right
# had up to 0.018, those that lacked an arm of a cross from 0.016 to 0.05.
DIVERGED = 0.02
DIVERGENCES = "Betancourt (2017), A conceptual introduction to HMC, arXiv 1701.02434"

# Nats of evidence, beyond three standard errors, that another guide may find more.
MISSING_EVIDENCE = 0.5

# An unfinished optimisation that is expected to lose less than this can still be corrected.
CORRECTABLE_GAP = 0.5

# Times the tolerance, the expected loss of an optimisation that ended, but at no optimum.
NO_OPTIMUM = 1000.0

# What helps an optimisation that did not end by itself, by why it stopped.
GO_ON = {
    "interrupted": "let it run to its end",
    "budget": "give it a larger budget, or reparameterise the model",
}
REPARAMETERISE = "reparameterise the model or run NUTS"


@dataclasses.dataclass(frozen=True)
class Trust:
    """The word and what decided it.

    Attributes:
        word: "trusted", "usable" or "not trusted".
        findings: all checks, the deciding ones first.
    """

    word: str
    findings: tuple[Finding, ...]


def judge(
    verdict: Verdict,
    weights: Weights | None,
    chains: Chains | None,
    solutions: Solutions,
    coordinates: Sequence[str],
    tails: dict[str, Tail],
    skipped: str = "",
    complete: bool = True,
    about_guide: Sequence[Finding] = (),
    rungs: Mapping[str, np.ndarray] | None = None,
    response: Float[np.ndarray, " dim"] | None = None,
    endless: Sequence[int] = (),
    about_draws: Finding | None = None,
) -> Trust:
    """Weigh all checks.

    Args:
        verdict: why the optimiser stopped.
        weights: importance weights of the guide's draws; None if they were not computed.
        chains: the short chains; None if they were skipped.
        solutions: what the start search found.
        coordinates: names of the latent coordinates.
        tails: how heavy it is, of each scalar whose tail is heavy.
        skipped: why checks were skipped, one sentence.
        complete: False if checks were switched off or stopped; such a fit is never believed.
        about_guide: what was found about a guide before it was fitted.
        rungs: log p - log q at draws of each guide that was compared, the chosen one last.
        response: sds by linear response over those of a mean-field guide; None for others.
        endless: latent coordinates along which the density hardly falls off.
        about_draws: what is wrong with the draws as such.
    """
    findings = [_optimiser(verdict, len(coordinates)), *about_guide]
    corrected = weights is not None and draws_from(weights, chains) != "guide"
    if weights is not None:
        findings.append(_weights(weights, chains))
    if chains is not None:
        findings.append(_drift(chains, coordinates, corrected))
        findings.append(_settled(chains))
        if chains.diverged > DIVERGED:
            findings.append(_diverged(chains))
        if weights is not None and np.ptp(chains.groups) > 0:
            findings.append(_shares(weights))
        if chains.beyond:
            findings.append(dip_finding(chains.beyond, chains.region))
    elif skipped:
        # Weights alone cannot see what the guide's draws never reach.
        enough = weights is not None and weights.efficiency >= EXCELLENT_EFFICIENCY
        level = ("note" if enough else "doubt") if complete else "bad"
        findings.append(Finding("short HMC", np.nan, np.nan, level, skipped))
    if response is not None and weights is not None:
        findings.append(response_finding(response, coordinates, corrected))
    findings.append(solutions_finding(solutions, coordinates))
    if rungs:
        findings.append(_evidence(rungs))
    if tails:
        findings.append(_heavy(tails))
    if endless:
        findings.append(endless_finding(endless, coordinates))
    if about_draws is not None:
        findings.append(about_draws)

    levels = {finding.level for finding in findings}
    if weights is None:
        word = "not trusted"
    elif "bad" in levels:
        word = "not trusted"
    else:
        word = "usable" if "doubt" in levels else "trusted"
    order = {"bad": 0, "doubt": 1, "note": 3}
    findings.sort(key=lambda finding: order.get(finding.level, 2))
    findings.append(unseen_finding(solutions))
    return Trust(word, tuple(findings))


def far_off(chains: Chains) -> bool:
    """Whether the chains moved so far that they may not have arrived either."""
    ratio = np.maximum(chains.sd_ratio, 1.0 / np.maximum(chains.sd_ratio, 1e-300))
    return bool(np.abs(chains.mean_drift).max() > LARGE_DRIFT or ratio.max() > LARGE_RATIO)


def doubtful(weights: Weights, margin: float = 0.0) -> bool:
    """Whether weights are bad by k-hat, by more than a margin, and by how many of them count."""
    heavy = weights.k_hat > weights.k_threshold + margin
    return heavy and weights.efficiency < NOT_NEEDED_EFFICIENCY


def sure_of_shares(weights: Weights) -> bool:
    """Whether weights know the shares of a mixture's components."""
    return weights.k_hat <= SURE_SHARES or weights.efficiency >= NOT_NEEDED_EFFICIENCY


def harmless(weights: Weights) -> bool:
    """Whether no more than next to nothing of the mass clearly lies where the guide is too small.

    A single draw shows no share at all, unless it holds much.
    """
    share, error = weights.beyond
    return share - error < HARMLESS_MASS and share < HARMLESS_DRAW


def draws_from(weights: Weights, chains: Chains | None) -> str:
    """Return where corrected draws come from: "chains", "weights" or "guide".

    Chains that settled are preferred, unless the weights are reliable and worth more draws. What
    chains moved away from, weights rest on: they only reach where the guide does.
    """
    worth = weights_worth(weights)
    if chains is not None and chains.settled:
        if chains.moved:
            return "chains"
        reliable = weights.k_hat <= 0.5 or weights.efficiency >= NOT_NEEDED_EFFICIENCY
        margin = 1.0 if reliable else 3.0
        return "weights" if worth > margin * chains.effective else "chains"
    # Weights with a heavy tail still improve on the guide; the verdict says what they are worth.
    equal = weights.efficiency >= NOT_NEEDED_EFFICIENCY
    improves = weights.effective >= FEW_DRAWS and (weights.k_hat < 1.0 or equal)
    return "weights" if worth or improves else "guide"


def weights_worth(weights: Weights) -> float:
    """Return how many draws the weighted ones are worth; zero if they cannot be relied on.

    Weights may be nearly equal, and the guide's tails still end where the posterior's go on: then
    k-hat alone says so, and no weighted draw is ever out there.
    """
    if weights.k_hat > weights.k_threshold:
        return 0.0
    return weights.effective if weights.effective >= FEW_DRAWS else 0.0


def _optimiser(verdict: Verdict, dim: int) -> Finding:
    if verdict.converged:
        # What is left differs so much from one set of draws to the next that it is not known.
        limit = NO_OPTIMUM * default_tolerance(dim)
        level = "bad" if verdict.expected_gap > limit else "good"
        advice = REPARAMETERISE if level == "bad" else ""
        return Finding(
            "optimiser", verdict.expected_gap, limit, level, _sentence(verdict.message), advice
        )
    correctable = verdict.reason == "gradients" and verdict.expected_gap < CORRECTABLE_GAP
    return Finding(
        "optimiser",
        verdict.expected_gap,
        CORRECTABLE_GAP,
        "doubt" if correctable else "bad",
        _sentence(verdict.message),
        "" if correctable else GO_ON.get(verdict.reason, REPARAMETERISE),
    )


def _weights(weights: Weights, chains: Chains | None) -> Finding:
    share = f"{100 * weights.efficiency:.0f} % of the guide's draws are effective"
    error = weights.k_hat_error
    # Unless it is clearly above its threshold k-hat says nothing where chains looked for
    # themselves; nor where all that the guide falls short of is next to nothing.
    looked = chains is not None and chains.settled
    if not doubtful(weights, CLEARLY * error if looked else 0.0):
        level, text = "good", f"{_behaved(weights)}: {share}."
    elif looked and harmless(weights):
        mass = f"{100 * weights.beyond[0]:.2g} % of the mass"
        level, text = "good", f"The guide is too small only far out, with {mass}: {share}."
    else:
        level = "doubt"
        text = f"The guide is a poor approximation in the tails: k-hat too high, {share}."
    if np.isfinite(error):
        text = f"{text[:-1]} (k-hat {weights.k_hat:.2f} ± {error:.2f})."
    if weights.efficiency < ENOUGH_EFFICIENCY:
        level = "doubt"
        text = f"Few of the guide's draws count: {share}."
    advice = ""
    if level == "doubt" and not looked:
        # Nothing else has mended the draws.
        usable = weights_worth(weights) > 0
        level = "doubt" if usable else "bad"
        advice = "" if usable else "reparameterise the model or compare with a NUTS run"
    return Finding(
        "k-hat", round(weights.k_hat, 2), weights.k_threshold, level, text, advice, PSIS_REFERENCE
    )


def _behaved(weights: Weights) -> str:
    """Say why weights are no reason for doubt, a high k-hat included."""
    if weights.k_hat <= weights.k_threshold:
        return "Importance weights are well behaved"
    limit = f"{weights.k_threshold:.2g}"
    if weights.efficiency >= NOT_NEEDED_EFFICIENCY:
        return f"The weights are so equal that a k-hat above {limit} means little"
    return f"The chains settled, and k-hat is not clearly above {limit}"


def _drift(chains: Chains, coordinates: Sequence[str], corrected: bool) -> Finding:
    ratio = np.maximum(chains.sd_ratio, 1.0 / np.maximum(chains.sd_ratio, 1e-300))
    drift = np.abs(chains.mean_drift)
    worst_ratio, worst_drift = int(ratio.argmax()), int(drift.argmax())
    moved = (
        f"short HMC moved the mean of {coordinates[worst_drift]} by "
        f"{chains.mean_drift[worst_drift]:+.2f} sd and the sd of {coordinates[worst_ratio]} by a "
        f"factor {chains.sd_ratio[worst_ratio]:.2f}, the most of all"
    )
    value = float(chains.sd_ratio[worst_ratio])
    if far_off(chains) and chains.confirmed:
        text = (
            f"The guide was far off: {moved}. The returned draws are those of {chains.rounds} "
            "rounds of chains, long enough to have forgotten it."
        )
        return Finding("drift", value, LARGE_RATIO, "doubt", text, "", HMC_REFERENCE)
    if far_off(chains):
        return Finding(
            "drift",
            value,
            LARGE_RATIO,
            "bad",
            f"The guide is far off: {moved}. Even the corrected draws may not have arrived.",
            "reparameterise the model (a centred hierarchy non-centred, say) or run NUTS",
            HMC_REFERENCE,
        )
    # As for k-hat: settled chains have mended what is not clearly beyond the limit.
    noise = CLEARLY / np.sqrt(chains.effective) if chains.settled else 0.0
    limit = round(float(SD_RATIO * (1.0 + noise / np.sqrt(2.0))), 2)
    if ratio.max() > limit or drift.max() > MEAN_ERROR + noise:
        text = f"The guide was off: {moved}."
        text += " The returned draws are corrected." if corrected else ""
        return Finding("drift", value, limit, "doubt", text, "", HMC_REFERENCE)
    return Finding("drift", value, limit, "good", _sentence(moved), "", HMC_REFERENCE)


def _settled(chains: Chains) -> Finding:
    if chains.settled:
        forgot = "" if chains.confirmed else " and forgot where they began"
        rounds = "1 round" if chains.rounds == 1 else f"{chains.rounds} rounds"
        text = f"The chains settled within {rounds}{forgot}."
        return Finding("settled", round(chains.memory, 2), np.nan, "good", text)
    text = (
        f"After {chains.rounds} rounds the short chains still move, or still remember where they "
        f"began (correlation {chains.memory:.2f}): the draws are not yet the posterior's."
    )
    value = round(chains.memory, 2)
    return Finding("settled", value, np.nan, "bad", text, REPARAMETERISE, HMC_REFERENCE)


def _diverged(chains: Chains) -> Finding:
    text = (
        f"{100 * chains.diverged:.3g} % of the chains' trajectories diverged: somewhere the "
        "posterior is too narrow for steps that suit the rest of it. Draws may be missing there."
    )
    return Finding(
        "divergences", chains.diverged, DIVERGED, "doubt", text, REPARAMETERISE, DIVERGENCES
    )


def _shares(weights: Weights) -> Finding:
    """How well the weights know the shares of a mixture's components."""
    value = round(weights.k_hat, 2)
    if sure_of_shares(weights):
        text = "Importance weights give the components of the guide their shares."
        return Finding("shares", value, SURE_SHARES, "good", text, "", PSIS_REFERENCE)
    text = (
        "The guide is a mixture whose shares are not well known: chains do not cross from one "
        f"component to another, and the weights are heavy (k-hat {weights.k_hat:.2f})."
    )
    advice = "compare with a NUTS run, or break the symmetry with an ordering or a prior"
    return Finding("shares", value, SURE_SHARES, "doubt", text, advice, PSIS_REFERENCE)


def _evidence(rungs: Mapping[str, np.ndarray]) -> Finding:
    """Every guide estimates the same evidence, from below: one that finds less misses mass."""
    found = {name: log_mean(log_ratios) for name, log_ratios in rungs.items()}
    *others, chosen = found
    evidence, error = found[chosen]
    excess = {n: found[n][0] - evidence - 3.0 * np.hypot(found[n][1], error) for n in others}
    worst = max(excess, key=excess.__getitem__)
    each = ", ".join(f"{value:.2f} ± {its:.2g} by {name}" for name, (value, its) in found.items())
    if excess[worst] > MISSING_EVIDENCE:
        text = f"The {chosen} guide misses mass that {worst} has seen: log evidence {each}."
        advice = "compare with a NUTS run"
        return Finding("evidence", excess[worst], MISSING_EVIDENCE, "bad", text, advice)
    text = f"No other guide finds more mass: log evidence {each}."
    return Finding("evidence", excess[worst], MISSING_EVIDENCE, "good", text)


def _heavy(tails: dict[str, Tail]) -> Finding:
    text = (
        f"The sd of {first_few(list(tails))} rests on a few draws far out: its tail is heavy. "
        "Report quantiles instead."
    )
    heaviest = max(tails.values(), key=lambda tail: tail.kurtosis)
    limits = heaviest.limits
    if heaviest.kurtosis > limits.kurtosis:
        return Finding("tails", round(heaviest.kurtosis, 1), limits.kurtosis, "doubt", text)
    shape = max(tail.shape for tail in tails.values())
    return Finding("tails", round(shape, 2), limits.shape, "doubt", text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
