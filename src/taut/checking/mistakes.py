"""Statements of a program that are no statements: what NumPyro takes and only JAX trips over."""

import re
from typing import Any

import jax
import numpy as np
from numpyro.distributions import constraints
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.distribution import Distribution

from taut.checking.problem import Problem
from taut.checking.words import constraint_line, support_words
from taut.targets.location import model_location

_KINDS = {"float": "a number", "int": "a number", "str": "text"}

_BOUNDED = ("interval", "open_interval", "greater_than", "less_than")


class MisstatedError(Exception):
    """A statement that cannot be run, with the problem that says so."""

    def __init__(self, problem: Problem):
        super().__init__(problem.found)
        self.problem = problem


def refuse(message: dict) -> None:
    """Refuse a param or deterministic statement whose value or constraint is of no use.

    Args:
        message: NumPyro's record of the statement.

    Raises:
        MisstatedError: it cannot be run.
    """
    problem = None
    if message["type"] == "param":
        given = message["kwargs"].get("constraint")
        problem = constraint_problem(message["name"], given) or _list(message)
    elif message["type"] == "deterministic" and isinstance(message["value"], Distribution):
        problem = _not_drawn(message)
    if problem is not None:
        raise MisstatedError(problem)


def named(error: Exception, unset: list[str]) -> Problem | None:
    """Return the problem behind an error of NumPyro's or Python's own, if it is a known one.

    Args:
        error: what a program raised.
        unset: its parameters without a first value.
    """
    if isinstance(error, MisstatedError):
        return error.problem
    text = str(error)
    if isinstance(error, TypeError) and text.startswith("Invalid type for 'fn'"):
        return _no_distribution(text.split("received ")[-1].split(".")[0], model_location(error))
    if unset and isinstance(error, TypeError) and "NoneType" in text:
        return _unset(unset[-1])
    return None


def no_statements(label: str, returned: Any) -> Problem | None:
    """Say why a program that was called has no statements, if what it returned tells.

    Args:
        label: its name.
        returned: what it returned.
    """
    if hasattr(returned, "__next__"):
        found, fix = "has yield in it, so calling it runs nothing", "Take yield out of it"
    elif callable(returned):
        found = "has no statements and returns a function"
        fix = f"Call it first and pass on what it returns, {label}(...)"
    else:
        return None
    expected = "a function with numpyro.sample statements"
    return Problem("error", "raised", label, f"the function {label!r} {found}", expected, fix)


def constraint_problem(name: str, given: Any) -> Problem | None:
    """Say why what was given as the constraint of a parameter is none."""
    if given is None or isinstance(given, Constraint):
        return None
    line, shown = "dist.constraints.positive", "is no constraint"
    if isinstance(given, str):
        shown = f"is the text {given!r}"
        line = constraint_line(given) if hasattr(constraints, given) else line
    elif isinstance(given, type) and issubclass(given, Constraint):
        words = support_words(object.__new__(given))
        shown = f"is the class of {words} constraints"
        line = constraint_line(words)
        if words in _BOUNDED:
            shown += ", without its bounds"
    elif callable(given):
        shown = "is a function"
    return Problem(
        "error",
        "constraint",
        name,
        f"the constraint of parameter {name!r} {shown}",
        "one of numpyro.distributions.constraints",
        f"Write numpyro.param({name!r}, ..., constraint={line})",
    )


def _list(message: dict) -> Problem | None:
    value, name = message["value"], message["name"]
    if not isinstance(value, (list, tuple)) or not value:
        return None
    if not all(isinstance(leaf, (bool, int, float)) for leaf in jax.tree_util.tree_leaves(value)):
        return None
    shown = str(np.asarray(value, float).tolist()) if len(value) <= 3 else "[...]"
    return Problem(
        "error",
        "start",
        name,
        f"parameter {name!r} starts at a {type(value).__name__} of numbers, which is no array",
        "an array",
        f"Write numpyro.param({name!r}, jnp.array({shown}))",
    )


def _unset(name: str) -> Problem:
    return Problem(
        "error",
        "start",
        name,
        f"parameter {name!r} has no first value",
        "a first value, which also gives its shape",
        f"Write numpyro.param({name!r}, 0.0)",
    )


def _not_drawn(message: dict) -> Problem:
    name, family = message["name"], type(message["value"]).__name__
    return Problem(
        "error",
        "raised",
        name,
        f"numpyro.deterministic({name!r}, ...) has a distribution ({family}) as its value, so "
        "nothing is drawn",
        "a value, or a draw",
        f"Write numpyro.sample({name!r}, ...) with that distribution",
    )


def _no_distribution(kind: str, where: str) -> Problem:
    array = re.search("Tracer|Array|ndarray", kind)
    kind = "an array" if array else _KINDS.get(kind, f"of type {kind}")
    return Problem(
        "error",
        "raised",
        "numpyro.sample",
        f"the second argument of numpyro.sample{where} is {kind}, not a distribution",
        "a name, then a distribution",
        "Write numpyro.sample('name', dist.Normal(loc, scale)), or for a computed value "
        "numpyro.deterministic('name', value)",
    )
