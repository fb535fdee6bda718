"""What `taut.fit` does with a guide of the user's own before it fits it: read it, or refuse it."""

import dataclasses
from collections.abc import Callable
from typing import Any

from taut.checking.check import check
from taut.checking.problem import Problem
from taut.diagnostics.finding import Finding
from taut.infer.program_search import GuideCall, ProgramSearch
from taut.loop.monitor import Monitor
from taut.targets.target import Target

# Warnings that say q may not be the density its draws come from.
_DOUBTFUL = ("auxiliary", "factor")


@dataclasses.dataclass(frozen=True)
class OwnGuide:
    """A guide function that was found to fit its model.

    Attributes:
        call: the model and the guide with their arguments.
        findings: what was found about it that is no error.
        seed: the seed of the fit.
    """

    call: GuideCall
    findings: tuple[Finding, ...]
    seed: int

    def search(self, monitor: Monitor) -> Any:
        """Return what fits it."""
        return ProgramSearch(self.call, monitor, self.seed)


def read_guide(target: Target, guide: Callable, seed: int) -> OwnGuide:
    """Check a guide function against its model.

    Raises:
        InputError: everything that is wrong with it, at once.
    """
    call = GuideCall(target, guide)
    report = check(call.given_model, guide, *call.args, seed=seed, **call.kwargs)
    report.raise_()
    return OwnGuide(call, tuple(map(_finding, (*report.warnings, *report.notes))), seed)


def _finding(problem: Problem) -> Finding:
    level = "doubt" if problem.kind in _DOUBTFUL else "note"
    text = f"About the guide: {problem.found}."
    advice = problem.fix if problem.severity == "warning" else ""
    return Finding("guide", float("nan"), float("nan"), level, text, advice)
