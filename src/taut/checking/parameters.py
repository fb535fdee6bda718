"""Parameters that cannot be fitted as they are declared."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to

from taut._core.xla_options import run_once
from taut.checking.arguments import WORDS, read_arguments
from taut.checking.flow import Flow
from taut.checking.problem import Problem
from taut.checking.reading import Parameter, Plate, Reading
from taut.checking.running import Call, run
from taut.checking.words import constraint_line, constraint_words, support_words

# Steps away from the first value, in the unconstrained coordinate; enough to change the sign of a
# parameter that may, and few enough not to overflow one that may not.
STEPS = (-9.0, -4.0, -1.5, 1.5, 4.0, 9.0)

# Larger parameters are weights of a network, whose values have no meaning of their own.
MOST_NUMBERS = 4096


def declaration_problems(guide: Reading) -> list[Problem]:
    """Find first values that no optimiser can start from, and names declared twice."""
    found = (_declaration(p) for p in guide.parameters.values())
    return [problem for problem in found if problem is not None]


def dependence_problems(guide: Reading, model: Reading, flow: Flow) -> list[Problem]:
    """Find parameters that nothing depends on, and constraints that depend on parameters."""
    problems = []
    for name in guide.parameters:
        others = sorted(flow.bounds.get(name, frozenset()) & set(guide.parameters))
        if others:
            problems.append(_moving_constraint(name, others))
        if name not in flow.reached() and name not in model.parameters:
            problems.append(_unused(name, name in flow.mentioned()))
    problems += _by_position(guide, flow)
    if not guide.parameters and guide.latents():
        problems.append(
            Problem(
                "warning",
                "unused",
                "guide",
                "the guide has no parameters, so there is nothing to fit",
                "at least one numpyro.param",
                'Write loc = numpyro.param("loc", 0.0) and use it in a distribution',
            )
        )
    return problems


def argument_problems(call: Call, guide: Reading, key: Any) -> list[Problem]:
    """Find distribution arguments that a step of the parameters can make invalid."""
    params = {n: p.value for n, p in guide.parameters.items()}
    rows = [(None, params), *_moved(guide)]
    labels: list[tuple[str, str, str, str]] = []

    def valid(row: dict) -> list:
        arguments = read_arguments(run(call, key, row).latents())
        labels[:] = [argument.label for argument in arguments]
        return [jnp.all(argument.valid) for argument in arguments]

    if not jax.eval_shape(valid, params):
        return []
    stacked = jax.tree_util.tree_map(lambda *v: np.stack(v), *[row for _, row in rows])
    # The index counts the rows where the guide has no parameters.
    mapped = run_once(lambda rs: jax.lax.map(lambda row: jnp.stack(valid(row[1])), rs))
    flags = np.asarray(mapped((np.arange(len(rows)), stacked)))
    problems = []
    for (site, family, argument, need), column in zip(labels, flags.T, strict=True):
        if not column[0]:
            problems.append(_bad_start(site, family, argument, need))
            continue
        kept = {n for n, p in guide.parameters.items() if support_words(p.constraint) == need}
        culprits = [n for (n, _), good in zip(rows, column, strict=True) if n and not good]
        for name in dict.fromkeys(n for n in culprits if n not in kept):  # those underflow
            problems.append(_unconstrained(guide.parameters[name], site, family, argument, need))
    return list(_first_of_each(problems))


def nearby(guide: Reading, rows: int) -> list[dict]:
    """Values of all parameters: the first ones, then some near by, inside their constraints."""
    random = np.random.default_rng(0)
    result = [{n: p.value for n, p in guide.parameters.items()}]
    for _ in range(rows - 1):
        result.append({n: _step(p, 0.3 * random.normal()) for n, p in guide.parameters.items()})
    return result


def _moved(guide: Reading) -> list[tuple[str, dict]]:
    values = {n: p.value for n, p in guide.parameters.items()}
    return [
        (name, {**values, name: _step(parameter, step)})
        for (name, parameter), step in itertools.product(guide.parameters.items(), STEPS)
        if sum(np.size(leaf) for leaf in jax.tree_util.tree_leaves(parameter.value)) < MOST_NUMBERS
    ]


def _step(parameter: Parameter, step: float) -> Any:
    """The parameter's value after a step in its unconstrained coordinates."""
    try:
        bijection = biject_to(parameter.constraint)
    except NotImplementedError:
        return parameter.value

    def moved(leaf: Any) -> np.ndarray:
        start = bijection.inv(jnp.asarray(leaf))
        change = step * (1.0 + 0.5 * jnp.abs(start))
        return np.asarray(bijection(start + change), np.asarray(leaf).dtype)

    return jax.tree_util.tree_map(moved, parameter.value)


def _declaration(parameter: Parameter) -> Problem | None:
    leaves = jax.tree_util.tree_leaves(parameter.value)
    name, constraint = parameter.name, parameter.constraint
    words = constraint_words(constraint)
    if not all(_is_float(leaf) for leaf in leaves):
        return Problem(
            "error",
            "start",
            name,
            f"parameter {name!r} starts at whole numbers ({_shown(parameter)}), which have no "
            "gradient",
            "floating-point numbers",
            f"Write numpyro.param({name!r}, {_floating(parameter)})",
        )
    if not all(np.isfinite(leaf).all() for leaf in leaves):
        return Problem(
            "error",
            "start",
            name,
            f"parameter {name!r} starts at a value that is not finite ({_shown(parameter)})",
            "a finite first value",
            f"Write numpyro.param({name!r}, 0.0)",
        )
    if len(leaves) == 1 and not np.all(constraint(leaves[0])):
        return Problem(
            "error",
            "start",
            name,
            f"parameter {name!r} starts at {_shown(parameter)}, outside its constraint ({words})",
            "a first value inside the constraint",
            f"Write a first value that is {words}",
        )
    if parameter.conflicting:
        return Problem(
            "warning",
            "start",
            name,
            f"parameter {name!r} is declared twice, with different first values or constraints; "
            "the two are one parameter, and the second declaration is ignored",
            "one declaration for each name",
            f"Give the second a name of its own, such as {name + '_2'!r}",
        )
    return None


def _moving_constraint(name: str, others: list[str]) -> Problem:
    other = others[0]
    return Problem(
        "warning",
        "constraint",
        name,
        f"the constraint of parameter {name!r} depends on parameter "
        f"{', '.join(map(repr, others))}, so its bound moves while {other!r} is fitted: Taut lets "
        "it follow, NumPyro freezes it at its first value",
        "a constraint with fixed bounds",
        f'Write share = numpyro.param("share", 0.5, constraint=dist.constraints.unit_interval) '
        f"and compute {name} from share and {other}",
    )


def _by_position(guide: Reading, flow: Flow) -> list[Problem]:
    """Find parameters with a row for each row of a minibatch, not for each row of the data."""
    problems = []
    for name, site in guide.latents().items():
        plates = [guide.plates[p] for p in site.plates if p in guide.plates]
        split = [plate for plate in plates if plate.subsampled]
        for parameter in sorted(flow.laws.get(name, frozenset()) & set(guide.parameters)):
            leaves = jax.tree_util.tree_leaves(guide.parameters[parameter].value)
            if split and len(leaves) == 1 and site.shape and np.shape(leaves[0]) == site.shape:
                problems.append(_batch_sized(parameter, name, site.shape, split[0]))
    return problems


def _batch_sized(name: str, site: str, shape: tuple[int, ...], plate: Plate) -> Problem:
    return Problem(
        "error",
        "minibatch",
        name,
        f"parameter {name!r} has shape {shape}, a row for each row of the minibatch of plate "
        f"{plate.name!r}, so the same numbers serve other rows of the data at every step",
        f"a row for each of the {plate.size} rows",
        f"Give it {plate.size} rows and use those of the minibatch: with numpyro.plate("
        f"{plate.name!r}, {plate.size}, subsample_size={plate.subsample_size}) as rows: "
        f"numpyro.sample({site!r}, dist.Normal({name}[rows], scale))",
    )


def _unused(name: str, mentioned: bool) -> Problem:
    why = (
        "only through operations without a gradient (rounding, comparing, stop_gradient)"
        if mentioned
        else "nowhere in a distribution or value"
    )
    return Problem(
        "warning",
        "unused",
        name,
        f"parameter {name!r} is used {why}, so nothing depends on it and it never moves",
        "every parameter reaches a distribution of the guide",
        f"Use {name!r} in a numpyro.sample statement, or take it out",
    )


def _bad_start(site: str, family: str, argument: str, need: str) -> Problem:
    return Problem(
        "error",
        "argument",
        site,
        f"site {site!r}: the {argument} of {family} is invalid from the start",
        f"a {argument} that is {WORDS.get(need, need)}",
        "Give the parameters in it first values that make it so"
        + (
            "" if need == "ordered" else f", or constraint={constraint_line(WORDS.get(need, need))}"
        ),
    )


def _unconstrained(
    parameter: Parameter, site: str, family: str, argument: str, need: str
) -> Problem:
    name, kind = parameter.name, support_words(parameter.constraint)
    article = "" if argument.endswith("s") else "a "
    state = "is unconstrained" if kind == "real" else f"has constraint {kind!r}"
    return Problem(
        "warning",
        "argument",
        name,
        f"parameter {name!r} is used as {article}{argument} (site {site!r}, {family}) but {state}; "
        f"a step can make the {argument} invalid, and the loss becomes NaN",
        f"{article}{argument} that cannot leave its range ({WORDS.get(need, need)})",
        _constrained_line(parameter, need),
    )


def _constrained_line(parameter: Parameter, need: str) -> str:
    if need == "ordered":
        return (
            "Write high = low + width, with width = numpyro.param('width', 1.0, "
            "constraint=dist.constraints.positive)"
        )
    if need == "simplex" and _shown(parameter) != "...":
        need = "unit_interval"
    return (
        f"Write numpyro.param({parameter.name!r}, {_shown(parameter)}, "
        f"constraint={constraint_line(WORDS.get(need, need))})"
    )


def _shown(parameter: Parameter) -> str:
    leaves = jax.tree_util.tree_leaves(parameter.value)
    if len(leaves) != 1 or np.ndim(leaves[0]) != 0:
        return "..."
    value = leaves[0].item()
    return repr(float(f"{value:.6g}") if isinstance(value, float) else value)


def _floating(parameter: Parameter) -> str:
    shown = _shown(parameter)
    return f"{shown}.0" if shown != "..." else "jnp.asarray(..., float)"


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(np.asarray(leaf).dtype, jnp.floating)


def _first_of_each(problems: list[Problem]) -> list[Problem]:
    return list({(p.kind, p.severity, p.site): p for p in reversed(problems)}.values())[::-1]
