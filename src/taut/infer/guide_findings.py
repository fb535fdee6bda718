"""What the log density of a guide holds beside its draws, said before the first step."""

from typing import Any

import jax

from taut.checking.auxiliaries import left_over
from taut.checking.flow import trace_flow
from taut.checking.normalisation import factor_problems
from taut.checking.problem import Problem
from taut.checking.reading import read
from taut.checking.running import Call
from taut.checking.variables import find_change, variable_problems
from taut.diagnostics.finding import Finding

NAN = float("nan")

_JACOBIAN = Finding(
    "guide",
    NAN,
    NAN,
    "note",
    "The guide's factor is the Jacobian term of the sites it computes, and is counted as that, "
    "once.",
)


def as_finding(problem: Problem, level: str) -> Finding:
    """Return a problem of a guide as a finding."""
    text = problem.found[:1].upper() + problem.found[1:]
    advice = problem.fix if problem.severity != "note" else ""
    return Finding("guide", NAN, NAN, level, f"{text}.", advice)


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
