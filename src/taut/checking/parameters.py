"""Parameters that cannot be fitted as they are declared."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to

from taut._core.run_once import map_once
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
    names, rows = _moved(guide)
    labels: list[tuple[str, str, str, str]] = []

    def valid(steps: Any) -> Any:
        arguments = read_arguments(run(call, key, stepped(guide, steps)).latents())
        labels[:] = [argument.label for argument in arguments]
        flags = [jnp.all(argument.valid) for argument in arguments]
        return jnp.stack(flags) if flags else jnp.zeros(0, bool)

    flags = np.asarray(map_once(valid)(rows))
    problems = []
    for (site, family, argument, need), column in zip(labels, flags.T, strict=True):
        if not column[0]:
            problems.append(_bad_start(site, family, argument, need))
            continue
        kept = {n for n, p in guide.parameters.items() if support_words(p.constraint) == need}
        culprits = [n for n, good in zip(names, column, strict=True) if n and not good]
        for name in dict.fromkeys(n for n in culprits if n not in kept):  # those underflow
            problems.append(_unconstrained(guide.parameters[name], site, family, argument, need))
    return list(_first_of_each(problems))


def nearby(guide: Reading, rows: int) -> np.ndarray:
    """Steps of the parameters (rows, parameters): none, then some to values near by."""
    steps = 0.3 * np.random.default_rng(0).normal(size=(rows, len(guide.parameters)))
    steps[0] = 0.0
    return steps.astype(np.float32)


def stepped(guide: Reading, steps: Any) -> dict[str, Any]:
    """Values of all parameters, each a step from its first one and inside its constraint.

    Args:
        guide: what the guide declares.
        steps: how far each parameter goes in its unconstrained coordinates (parameters,); traced.
    """
    parameters = guide.parameters.items()
    return {name: _step(p, steps[index]) for index, (name, p) in enumerate(parameters)}


def _moved(guide: Reading) -> tuple[list[str], np.ndarray]:
    """Steps of one parameter at a time, and which moves; none does in the first row."""
    names, rows = [""], [np.zeros(len(guide.parameters), np.float32)]
    for index, (name, parameter) in enumerate(guide.parameters.items()):
        leaves = jax.tree_util.tree_leaves(parameter.value)
        if sum(np.size(leaf) for leaf in leaves) < MOST_NUMBERS:
            names += [name] * len(STEPS)
            rows += [np.where(np.arange(len(rows[0])) == index, s, rows[0]) for s in STEPS]
    return names, np.array(rows, np.float32)


def _step(parameter: Parameter, step: Any) -> Any:
    """The parameter's value after a step in its unconstrained coordinates."""
    try:
        bijection = biject_to(parameter.constraint)
    except NotImplementedError:
        return parameter.value

    def moved(leaf: Any) -> Any:
        start = bijection.inv(jnp.asarray(leaf))
        change = step * (1.0 + 0.5 * jnp.abs(start))
        value = jnp.asarray(bijection(start + change), jnp.result_type(leaf))
        return jnp.where(step == 0.0, leaf, value)

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
