"""`taut.check`: everything that is wrong with a guide, before it is fitted."""

import dataclasses
import inspect
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.errors import InputError
from taut.checking.flow import Flow, trace_flow
from taut.checking.folds import Folds
from taut.checking.mistakes import MisstatedError
from taut.checking.names import name_problems, prior_problems
from taut.checking.noise import noise_problems
from taut.checking.normalisation import factor_problems, improper_problems
from taut.checking.parameters import (
    argument_problems,
    declaration_problems,
    dependence_problems,
)
from taut.checking.problem import Problem
from taut.checking.reading import Reading, read
from taut.checking.report import GuideReport
from taut.checking.running import Call
from taut.checking.shapes import same_shape, shape_problems
from taut.checking.sharing import sharing_problems
from taut.checking.supports import draw_jointly, support_problems
from taut.checking.variables import VariableFindings, variable_problems
from taut.checking.weights import weight_problems
from taut.targets.abstract_run import NEEDS_A_NUMBER, NEEDS_A_VALUE, WRITE_IN_JAX
from taut.targets.arguments import bind_arguments
from taut.targets.location import model_location, plain_words


@dataclasses.dataclass(frozen=True)
class Examined:
    """A guide that was checked.

    Attributes:
        report: what was found.
        folds: what tells whether its map is one to one at other parameters; None if it has none.
    """

    report: GuideReport
    folds: Folds | None = None


def check(
    model: Callable,
    guide: Callable,
    /,
    *args: Any,
    prior_ok: Collection[str] = (),
    seed: int = 0,
    **kwargs: Any,
) -> GuideReport:
    """Find everything that is wrong with a guide before it is fitted.

    The guide is traced, and some hundred draws from it, at the first values of its parameters, are
    put into the model. Nothing is optimised.

    Args:
        model: a NumPyro model.
        guide: a NumPyro program with parameters (`numpyro.param`) that samples the model's latent
            sites.
        *args: the arguments that both are called with.
        prior_ok: latent sites that may be missing from the guide, and then keep their prior.
        seed: where the draws come from.
        **kwargs: keyword arguments that both are called with.

    Returns:
        A report: it prints all problems, each with the line to write; `report.ok` says whether
        there are no errors, and `report.raise_()` raises them all as one.

    Raises:
        InputError: the guide is not a function, or `prior_ok` names what is not there.
    """
    return examine(model, guide, args, kwargs, prior_ok, seed).report


def examine(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: dict[str, Any],
    prior_ok: Collection[str] = (),
    seed: int = 0,
) -> Examined:
    """Check a guide as `check` does, and keep what can be asked again once it is fitted."""
    _refuse_options(model, guide, prior_ok)
    problems, calls = _bind(model, guide, args, kwargs)
    if problems:
        return _report(problems)
    key = jax.random.key(seed)
    readings = []
    for program, call in zip(("model", "guide"), calls, strict=True):
        try:
            readings.append(_read(call, key))
        except Exception as error:
            problems.append(_raised(program, call, error))
    if problems:
        return _report(problems)
    (model_call, model_read), (guide_call, guide_read) = readings
    unknown = prior_problems(prior_ok, model_read)
    if unknown:
        raise InputError(unknown)
    return _examined(model_call, guide_call, model_read, guide_read, prior_ok, key)


def _examined(
    model_call: Call,
    guide_call: Call,
    model: Reading,
    guide: Reading,
    prior_ok: Collection[str],
    key: Any,
) -> Examined:
    problems = [*improper_problems(guide, model), *declaration_problems(guide)]
    shapes = shape_problems(guide, model)
    try:
        flow = trace_flow(guide_call, guide, model, key)
        noise = noise_problems(guide_call, guide, model, flow, key)
    except Exception as error:
        return _report([*problems, *shapes, _raised("guide", guide_call, error)])
    weighed = frozenset().union(*flow.factors.values())
    problems += name_problems(guide, model, prior_ok, flow.used(), weighed)
    problems += [*shapes, *weight_problems(guide, model), *noise]
    problems += [*dependence_problems(guide, model, flow), *sharing_problems(guide, model, flow)]
    if any(p.kind == "start" and p.severity == "error" for p in problems):
        return _report(problems)  # what follows is computed at the first values
    problems += argument_problems(guide_call, guide, key)
    variables = _variables(guide_call, guide, model, flow, shapes, key)
    problems += variables.problems
    problems += factor_problems(guide, flow, variables.corrects)
    if any(p.kind in ("argument", "observed") and p.severity == "error" for p in problems):
        return _report(problems)
    shared = [
        n
        for n, site in model.latents().items()
        if n in guide.sites and not guide.sites[n].observed and same_shape(site, guide.sites[n])
    ]
    try:
        draws = draw_jointly(guide_call, model_call, guide, shared, key)
    except Exception as error:
        if not shapes:  # with wrong shapes, that the model fails is no news
            problems.append(_raised("model", model_call, error))
        return _report(problems)
    return _report(problems + support_problems(draws, guide, model), variables.folds)


def _read(call: Call, key: Any) -> tuple[Call, Reading]:
    try:
        return call, read(call, key)
    except jax.errors.TracerArrayConversionError:
        # A NumPy array cannot be indexed by a minibatch; a JAX array can, and has a value too.
        args, kwargs = jax.tree_util.tree_map(
            lambda v: jnp.asarray(v) if isinstance(v, np.ndarray) else v, (call.args, call.kwargs)
        )
        call = Call(call.function, args, kwargs)
        return call, read(call, key)


def _variables(
    call: Call, guide: Reading, model: Reading, flow: Flow, shapes: list[Problem], key: Any
) -> VariableFindings:
    if any(p.severity == "error" for p in shapes):
        return VariableFindings((), corrects=False)
    return variable_problems(call, guide, model, flow, key)


def _refuse_options(model: Callable, guide: Callable, prior_ok: Any) -> None:
    problems = [
        f"a {what} is a function with numpyro.sample statements; got {type(program).__name__}"
        for what, program in (("model", model), ("guide", guide))
        if not callable(program)
    ]
    if isinstance(prior_ok, str):
        problems.append(f"prior_ok is a set of names; write prior_ok={{{prior_ok!r}}}")
    if not problems:
        try:
            taken = {"prior_ok", "seed"} & set(inspect.signature(model).parameters)
        except (TypeError, ValueError):
            taken = set()
        problems += [
            f"the model's argument {name!r} has the name of an option of taut.check; bind it "
            "first with functools.partial, in model and guide"
            for name in sorted(taken)
        ]
    if problems:
        raise InputError(problems)


def _bind(
    model: Callable, guide: Callable, args: tuple, kwargs: dict
) -> tuple[list[Problem], tuple[Call, Call]]:
    problems, calls = [], []
    for program, function in (("model", model), ("guide", guide)):
        try:
            arguments = bind_arguments(function, args, kwargs)
        except InputError as error:
            problems += [
                Problem(
                    "error",
                    "arguments",
                    program,
                    f"the {program} cannot be called with these arguments: {sentence}",
                    "guide and model take the same arguments",
                    f"Give the {program} the arguments of the other",
                )
                for sentence in error.problems
            ]
            continue
        bound, named = arguments.rebuild(arguments.leaves)
        calls.append(Call(function, bound, named))
    return problems, tuple(calls)


def _raised(program: str, call: Call, error: Exception) -> Problem:
    if isinstance(error, MisstatedError):
        return error.problem
    if isinstance(error, NEEDS_A_VALUE):
        return Problem(
            "error",
            "raised",
            program,
            f"{program} {call.label!r} {NEEDS_A_NUMBER}{model_location(error)}",
            "functions of JAX between params, drawn values and distributions",
            WRITE_IN_JAX,
        )
    first = plain_words(error)
    return Problem(
        "error",
        "raised",
        program,
        f"{program} {call.label!r} raised {type(error).__name__}{model_location(error)}: {first}",
        f"a {program} that runs under jax.jit, with these arguments",
        "Mend the line named above",
    )


def _report(problems: list[Problem], folds: Folds | None = None) -> Examined:
    order = ("error", "warning", "note")
    ranked = sorted(problems, key=lambda p: order.index(p.severity))
    return Examined(GuideReport(tuple(ranked)), folds)
