"""What the log density of a guide holds beside its draws, said before the first step."""

from typing import Any

import jax

from taut.checking.auxiliaries import left_over
from taut.checking.change import find_change
from taut.checking.flow import trace_flow
from taut.checking.folds import Folds, testable
from taut.checking.noise import noise_problems
from taut.checking.normalisation import factor_problems
from taut.checking.problem import Problem
from taut.checking.reading import read
from taut.checking.running import Call
from taut.checking.variables import one_way_problems, variable_problems
from taut.diagnostics.finding import Finding

NAN = float("nan")
AT_LAST = "At the guide's fitted parameters "

_LEVELS = {"error": "bad", "warning": "doubt", "note": "note"}

_JACOBIAN = Finding(
    "factor",
    NAN,
    NAN,
    "note",
    "The guide's factor is the Jacobian term of the sites it computes, and is counted as that, "
    "once.",
)


def as_finding(problem: Problem, level: str, where: str = "", name: str = "guide") -> Finding:
    """Return a problem of a guide as a finding, with words to go before it."""
    text = where + problem.found if where else problem.found[:1].upper() + problem.found[1:]
    advice = problem.fix if problem.severity != "note" else ""
    return Finding(name, NAN, NAN, level, f"{text}.", advice)


def folds_of(guide: Call, model: Call) -> Folds | None:
    """Return what tells whether the map of a guide that is not checked folds; None if it has none.

    Args:
        guide: with the arguments it is called with.
        model: likewise.
    """
    key: Any = jax.random.key(0)
    readings = read(guide, key), read(model, key)
    change = find_change(*readings, trace_flow(guide, *readings, key))
    foldable = change.computed and testable(readings[0], change)
    return Folds(guide, readings[0], change) if foldable else None


def fold_findings(folds: Folds, params: dict[str, Any]) -> tuple[Finding, ...]:
    """Say whether a guide's map folds at its fitted parameters.

    A map that is one to one where the guide starts need not be so where it ends.
    """
    problem = folds.at_last(params, jax.random.key(1))
    return () if problem is None else (as_finding(problem, "bad", AT_LAST),)


def density_findings(guide: Call, model: Call) -> tuple[Finding, ...]:
    """Say what is in the log density of a guide that its loss does not show.

    Returns:
        A finding for each factor and each leftover auxiliary, for maps that have no density and
        draws that are none: the level is "bad" for these, and for a factor that lets the loss fall
        without bound.
    """
    key: Any = jax.random.key(0)
    readings = read(guide, key), read(model, key)
    flow = trace_flow(guide, *readings, key)
    change = find_change(*readings, flow)
    left = left_over(guide, *readings, flow, change.sources, key)
    found = [as_finding(problem, "doubt") for problem in left]
    hidden = [
        *noise_problems(guide, *readings, flow, key),
        *one_way_problems(guide, readings[0], flow, change, key),
    ]
    found += [as_finding(problem, _LEVELS[problem.severity]) for problem in hidden]
    if not readings[0].factors:
        return tuple(found)
    corrects = variable_problems(guide, *readings, flow, key).corrects
    factors = factor_problems(readings[0], flow, corrects)
    found += [as_finding(p, _LEVELS[p.severity], name="factor") for p in factors]
    return (*found, *(() if factors else (_JACOBIAN,)))
