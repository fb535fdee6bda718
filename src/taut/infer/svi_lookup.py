"""Finding the compiled program for a problem and its arguments, or reading and making it."""

import copy
import functools
from typing import Any

import jax
import jax.numpy as jnp

from taut._core.errors import InputError
from taut._core.fingerprint import Identity, Watch, identity
from taut._core.precision import native_dtype
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.params import ParamSite, Supplied, initial_params
from taut.infer.structure_key import structure_key
from taut.infer.svi_problem import Problem
from taut.infer.svi_program import SVIProgram
from taut.targets.abstract_run import run_abstractly
from taut.targets.arguments import Arguments, bind_arguments
from taut.targets.target import ProgramStore

PROGRAMS_KEPT = 32


def find_program(
    problem: Problem, args: tuple, kwargs: dict, supplied: dict[str, Any]
) -> tuple[SVIProgram, Arguments]:
    """Return the compiled program for a problem, and the arguments with those held static.

    Args:
        problem: what is optimised.
        args: arguments of model and guide.
        kwargs: their keyword arguments.
        supplied: what params start from that the programs give no value; others may be in it.

    Raises:
        InputError: model and guide do not fit together.
    """
    bound = functools.partial(problem.model, **problem.static) if problem.static else problem.model
    arguments = bind_arguments(bound, args, kwargs)
    guide = problem.guide
    guide_key = structure_key(guide) if isinstance(guide, AutoGuide) else identity(guide)
    if not isinstance(guide_key, Identity):
        # The program serves all guides of the same options, and outlives changes of this one.
        problem = problem._replace(guide=copy.copy(guide))
    key = (
        "svi",
        identity(problem.model),
        guide_key,
        structure_key((problem.optim, problem.loss, problem.static)),
        native_dtype(),
    )
    functions: Any = (problem.model, problem.guide)
    family = _PROGRAMS.family(key, functions)
    arguments = arguments.hold_static(family.held)
    program = _PROGRAMS.find(key, arguments.key())
    if program is None or not _suits(program, supplied):
        program, arguments, held = _read_program(problem, arguments, family.watch, supplied)
        family.held = (*family.held, *held)
        _PROGRAMS.keep(key, arguments.key(), program)
    return program, arguments


def _read_program(
    problem: Problem, arguments: Arguments, watch: Watch, supplied: dict[str, Any]
) -> tuple[SVIProgram, Arguments, tuple[str, ...]]:
    def read(args: tuple, kwargs: dict, _: list[Any]) -> Any:
        return read_params(problem, args, kwargs)

    programs = (problem.model, problem.guide)
    try:
        found, arguments, held, _ = run_abstractly(programs[0], arguments, watch, read, programs[1])
    except InputError:
        if not supplied:
            raise
        # Perhaps for want of a value that a param has from the user alone.
        problem = with_values(problem, supplied)
        found, arguments, held, _ = run_abstractly(programs[0], arguments, watch, read, programs[1])
    sites, shapes = found
    return SVIProgram(problem, arguments, sites, shapes, watch), arguments, held


def with_values(problem: Problem, supplied: dict[str, Any]) -> Problem:
    """Return the problem with a user's values for params that the programs give none."""
    model, guide = (Supplied(program, supplied) for program in (problem.model, problem.guide))
    return problem._replace(model=model, guide=guide)


def _suits(program: SVIProgram, supplied: dict[str, Any]) -> bool:
    """Whether params that start where the user says have the shapes that a program is for."""
    bare = {site.name: program.shapes[site.name] for site in program.sites if site.bare}
    return not initial_params({n: supplied[n] for n in bare if n in supplied}, bare)


def read_params(
    problem: Problem, args: tuple, kwargs: dict
) -> tuple[tuple[ParamSite, ...], dict[str, Any]]:
    """Run the programs abstractly; return what `Problem.read_params` does."""
    found: list[Any] = []

    def read(one: Any) -> None:
        found.append(problem.read_params(one, args, kwargs))

    jax.eval_shape(read, jnp.ones(()))
    return found[0]


_PROGRAMS = ProgramStore(PROGRAMS_KEPT)
