"""What a printed fit says and in which order, shared by the terminal and the notebook.

A reader asks: can I believe it and why; what is the answer; where do the draws come from; how good
is the bound; why did it stop and what did it cost; what was decided for me; what can no check see;
what should I try.
"""

import dataclasses
import math

from taut.report.fitted import FindingLike, Fitted
from taut.report.numbers import format_seconds, format_with_error

# The finding that says what no check can see.
UNSEEN = "unseen modes"
UNSEEN_MODE = (
    "The checks look where the draws are: a mode of the posterior that no start has seen cannot "
    "be excluded."
)
DRAWS = {
    "chains": "corrected: short HMC chains that began at the guide's draws",
    "weights": "corrected: the guide's draws, resampled by importance weights",
    "guide": "the guide's own, not corrected",
}
# The findings that decide each level of trust; the others are left to `fit.findings`.
_DECISIVE = {"trusted": ("good",), "usable": ("doubt",), "not trusted": ("bad", "doubt")}


@dataclasses.dataclass(frozen=True)
class Story:
    """The sentences of a printed fit, none of them wrapped or escaped yet.

    Args:
        why: the messages of the findings that decided the trust, most serious first.
        draws: where the returned draws come from.
        elbo: the bound with its standard error.
        log_evidence: the importance estimate with its standard error.
        stopped: after how many gradient evaluations the loop stopped, and why.
        phases: what the time went into, in order, as (phase, seconds).
        total: seconds in all, NaN if unknown.
        notes: what was decided for the user.
        caveats: what no check can see; never empty.
        advice: what to try; empty for a trusted fit.
    """

    why: tuple[str, ...]
    draws: str
    elbo: str
    log_evidence: str
    stopped: str
    phases: tuple[tuple[str, float], ...]
    total: float
    notes: tuple[str, ...]
    caveats: tuple[str, ...]
    advice: tuple[str, ...]


def tell(fit: Fitted) -> Story:
    """Gather what there is to say about a fit."""
    seconds = dict(fit.seconds)
    total = seconds.pop("total", sum(seconds.values()) if seconds else math.nan)
    deciding = deciding_findings(fit)
    # What holds for every fit comes first, where nothing cuts it short.
    notes = sorted((f for f in fit.findings if f.level == "note"), key=lambda f: f.name != UNSEEN)
    caveats = tuple(f.message for f in notes)
    advice = () if fit.trust == "trusted" else _unique(f.advice for f in deciding)
    return Story(
        why=_unique(f.message for f in deciding),
        draws=DRAWS[fit.draws_from],
        elbo=format_with_error(*fit.elbo),
        log_evidence=format_with_error(*fit.log_evidence),
        stopped=stopped_words(fit),
        phases=tuple(seconds.items()),
        total=total,
        notes=tuple(fit.notes),
        caveats=caveats or (UNSEEN_MODE,),
        advice=advice,
    )


def stopped_words(fit: Fitted) -> str:
    """Return after how many gradient evaluations the loop stopped, and why."""
    steps = fit.trace.gradients
    # One that was stopped has spent all, whether or not its last step was finished.
    stopped = fit.verdict.reason in ("budget", "interrupted") or not len(steps)
    spent = fit.gradients if stopped else int(steps[-1])
    checks = fit.gradients - spent
    checked = f" ({checks:,} more for the checks)" if checks > 0 else ""
    return f"after {spent:,} gradients{checked}: {fit.verdict.message}"


def deciding_findings(fit: Fitted) -> list[FindingLike]:
    """Return the findings behind the level of trust, the most serious first."""
    levels = _DECISIVE.get(fit.trust, ("bad", "doubt"))
    return [f for level in levels for f in fit.findings if f.level == level]


def time_words(story: Story, columns: int) -> str:
    """Return one line on where the time went, the shortest phases summed up if need be."""
    head = "" if math.isnan(story.total) else f"{format_seconds(story.total)} s"
    kept = [p for p in story.phases if p[1] >= 0.01 * max(story.total, 0)] or list(story.phases)
    while kept:
        parts = [f"{phase} {format_seconds(seconds)}" for phase, seconds in kept]
        if len(kept) < len(story.phases):
            rest = sum(s for _, s in story.phases) - sum(s for _, s in kept)
            parts.append(f"other {format_seconds(rest)}")
        line = f"{head}: {', '.join(parts)}"
        if len(line) <= columns:
            return line
        kept.remove(min(kept, key=lambda phase: phase[1]))
    return head


def _unique(sentences) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s for s in sentences if s))
