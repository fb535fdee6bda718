"""What the log density of a guide holds beside its draws, said before the first step."""

from collections.abc import Callable
from typing import Any

import jax

from taut.checking.auxiliaries import left_over
from taut.checking.change import find_change
from taut.checking.flow import trace_flow
from taut.checking.folds import MOST_FOLDED, Folds
from taut.checking.normalisation import factor_problems
from taut.checking.problem import Problem
from taut.checking.reading import read
from taut.checking.running import Call
from taut.checking.variables import variable_problems
from taut.diagnostics.finding import Finding

NAN = float("nan")
AT_LAST = "At the guide's fitted parameters "

_JACOBIAN = Finding(
    "guide",
    NAN,
    NAN,
    "note",
    "The guide's factor is the Jacobian term of the sites it computes, and is counted as that, "
    "once.",
)


def as_finding(problem: Problem, level: str, where: str = "") -> Finding:
    """Return a problem of a guide as a finding, with words to go before it."""
    text = where + problem.found if where else problem.found[:1].upper() + problem.found[1:]
    advice = problem.fix if problem.severity != "note" else ""
    return Finding("guide", NAN, NAN, level, f"{text}.", advice)


def fold_test(guide: Call, model: Call) -> Callable[[dict[str, Any]], tuple[Finding, ...]]:
    """Return what looks for folds of a guide's map at its fitted parameters.

    A map that is one to one where the guide starts need not be so where it ends.
    """
    key: Any = jax.random.key(1)
    readings = read(guide, key), read(model, key)
    change = find_change(*readings, trace_flow(guide, *readings, key))
    sites = readings[0].sites
    source = sum(sites[n].size for n in change.sources if not sites[n].discrete)
    if not change.computed or change.numbers(readings[0]) != source or source > MOST_FOLDED:
        return lambda params: ()
    folds = Folds(guide, readings[0], change)

    def look(params: dict[str, Any]) -> tuple[Finding, ...]:
        problem = folds.at_last(params, key)
        return () if problem is None else (as_finding(problem, "bad", AT_LAST),)

    return look


def density_findings(guide: Call, model: Call) -> tuple[Finding, ...]:
    """Say what factors and leftover auxiliaries of a guide do to the loss.

    Returns:
        A finding for each; its level is "bad" where the loss can fall without bound.
    """
    key: Any = jax.random.key(0)
    readings = read(guide, key), read(model, key)
    flow = trace_flow(guide, *readings, key)
    sources = find_change(*readings, flow).sources
    left = left_over(guide, *readings, flow, sources, key)
    found = [as_finding(problem, "doubt") for problem in left]
    if not readings[0].factors:
        return tuple(found)
    corrects = variable_problems(guide, *readings, flow, key).corrects
    factors = factor_problems(readings[0], flow, corrects)
    found += [as_finding(p, "bad" if p.severity == "error" else "doubt") for p in factors]
    return (*found, *(() if factors else (_JACOBIAN,)))
