"""What the log density of a guide holds beside its draws, said before the first step."""

from typing import Any

import jax

from taut.checking.auxiliaries import left_over
from taut.checking.flow import trace_flow
from taut.checking.normalisation import factor_problems
from taut.checking.problem import Problem
from taut.checking.reading import read
from taut.checking.running import Call
from taut.checking.variables import find_change, one_way_problems, variable_problems
from taut.diagnostics.finding import Finding

NAN = float("nan")

_JACOBIAN = Finding(
    "factor",
    NAN,
    NAN,
    "note",
    "The guide's factor is the Jacobian term of the sites it computes, and is counted as that, "
    "once.",
)


def as_finding(problem: Problem, level: str, name: str = "guide") -> Finding:
    """Return a problem of a guide as a finding."""
    text = problem.found[:1].upper() + problem.found[1:]
    advice = problem.fix if problem.severity != "note" else ""
    return Finding(name, NAN, NAN, level, f"{text}.", advice)


def density_findings(guide: Call, model: Call) -> tuple[Finding, ...]:
    """Say what is in the log density of a guide that its loss does not show.

    Returns:
        A finding for each factor and each leftover auxiliary, and for maps that have no density:
        the level is "bad" for these, and for a factor that lets the loss fall without bound.
    """
    key: Any = jax.random.key(0)
    readings = read(guide, key), read(model, key)
    flow = trace_flow(guide, *readings, key)
    change = find_change(*readings, flow)
    left = left_over(guide, *readings, flow, change.sources, key)
    found = [as_finding(problem, "doubt") for problem in left]
    maps = one_way_problems(guide, readings[0], flow, change, key)
    found += [as_finding(problem, "bad") for problem in maps]
    if not readings[0].factors:
        return tuple(found)
    corrects = variable_problems(guide, *readings, flow, key).corrects
    factors = factor_problems(readings[0], flow, corrects)
    levels = {"error": "bad", "warning": "doubt"}
    found += [as_finding(problem, levels[problem.severity], "factor") for problem in factors]
    return (*found, *(() if factors else (_JACOBIAN,)))
