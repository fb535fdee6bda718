"""Random numbers of a guide that are not drawn by its sample statements, or not drawn at all."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from taut._core.dependence import dependence
from taut._core.random_keys import as_numbers
from taut.checking.flow import Flow, drawn_sites
from taut.checking.problem import Problem
from taut.checking.reading import Reading
from taut.checking.running import Call, run


def noise_problems(
    call: Call, guide: Reading, model: Reading, flow: Flow, key: Any
) -> list[Problem]:
    """Find sites that are the same in every draw, and noise that the guide's sites do not hold.

    Args:
        call: the guide.
        guide: what it declares.
        model: what the model declares.
        flow: what in the guide depends on what.
        key: where random numbers come from.
    """
    params = {n: p.value for n, p in guide.parameters.items()}
    names = [n for n in guide.sites if not guide.sites[n].observed]

    def values(params: dict, key: Any) -> list[Any]:
        trace = run(call, key, params).trace
        return [trace[n]["value"] for n in names]

    # A function of its own each time: JAX keeps what it traced.
    programs = [jax.make_jaxpr(lambda p, k: values(p, k))(params, key) for _ in range(2)]
    depends = dependence(programs[0])
    last = len(programs[0].jaxpr.invars) - 1  # the key is one input
    drawn = drawn_sites(guide)
    problems, changing, still = [], [], []
    for at, name in enumerate(names):
        used = [_used(program, at) for program in programs]
        if not _same(used[0].constants, used[1].constants):
            changing.append(name)
        elif last in depends[at]:
            continue
        elif name in drawn and not guide.sites[name].improper:
            still.append(name)
        elif name in model.sites and "random_seed" in used[0].primitives:
            problems.append(_fixed_key(name))
    problems += [_foreign(changing[0])] if changing else []
    problems += [_still(name, guide.sites[name].family) for name in still]
    told = {*changing, *still}
    return problems + [
        _of_noise(name, guide)
        for name in drawn
        if name in model.sites and name not in told and "" in flow.laws[name]
        if not any(guide.plates[p].subsampled for p in guide.sites[name].plates)
    ]


@dataclasses.dataclass(frozen=True)
class _Used:
    """What an output of a traced program is computed with."""

    constants: list[Any]
    primitives: frozenset[str]


def _used(closed: ClosedJaxpr, at: int) -> _Used:
    jaxpr = closed.jaxpr
    needed = {jaxpr.outvars[at]} if isinstance(jaxpr.outvars[at], Var) else set()
    constants = [] if needed else [getattr(jaxpr.outvars[at], "val", None)]
    primitives = set()
    for equation in reversed(jaxpr.eqns):
        if needed.isdisjoint(equation.outvars):
            continue
        needed |= {v for v in equation.invars if isinstance(v, Var)}
        constants += _literals(equation.invars)
        primitives.add(equation.primitive.name)
        for inner in jax.tree_util.tree_leaves(
            list(equation.params.values()), is_leaf=lambda p: isinstance(p, (ClosedJaxpr, Jaxpr))
        ):
            _gather(inner, constants, primitives)
    held = zip(jaxpr.constvars, closed.consts, strict=True)
    return _Used(constants + [c for v, c in held if v in needed], frozenset(primitives))


def _gather(inner: Any, constants: list[Any], primitives: set[str]) -> None:
    """Add all that a program inside an equation is computed with."""
    if isinstance(inner, ClosedJaxpr):
        constants += inner.consts
        inner = inner.jaxpr
    if not isinstance(inner, Jaxpr):
        return
    for equation in inner.eqns:
        constants += _literals(equation.invars)
        primitives.add(equation.primitive.name)
        for part in equation.params.values():
            _gather(part, constants, primitives)


def _literals(atoms: Sequence[Any]) -> list[Any]:
    return [atom.val for atom in atoms if isinstance(atom, Literal)]


def _same(first: list[Any], second: list[Any]) -> bool:
    pairs = zip(first, second, strict=False)
    return len(first) == len(second) and all(
        as_numbers(a).tobytes() == as_numbers(b).tobytes() for a, b in pairs
    )


def _foreign(name: str) -> Problem:
    return Problem(
        "error",
        "noise",
        name,
        f"{name!r} is made with random numbers that are not JAX's (np.random or random): they are "
        "drawn once, when the guide is compiled, and stay the same in every draw",
        "randomness that comes from numpyro.sample",
        f"Write u = numpyro.sample('u', dist.Normal(0.0, 1.0)) and compute {name} from it",
    )


def _fixed_key(name: str) -> Problem:
    return Problem(
        "error",
        "noise",
        name,
        f"{name!r} is made with random numbers from a key that the guide makes itself "
        "(jax.random.key or PRNGKey), so it is the same in every draw",
        "randomness that comes from numpyro.sample",
        f"Write u = numpyro.sample('u', dist.Normal(0.0, 1.0)) and compute {name} from it",
    )


def _still(name: str, family: str) -> Problem:
    return Problem(
        "error",
        "noise",
        name,
        f"site {name!r} has a {family}, but the same value in every draw: something inside the "
        "guide fixes it (handlers.seed, handlers.substitute, rng_key=)",
        "a draw of its distribution, anew each time",
        f"Take handlers.seed, handlers.substitute and rng_key= away from {name!r}",
    )


def _of_noise(name: str, guide: Reading) -> Problem:
    split = [plate.name for plate in guide.plates.values() if plate.subsampled]
    if split:
        return Problem(
            "warning",
            "minibatch",
            name,
            f"site {name!r} is outside of plate {split[0]!r}, but its distribution depends on "
            "which rows the minibatch has, so it is another one at every step",
            "a distribution that all of the data, or none of them, go into",
            f"Compute what {name!r} needs from the whole data, or give it params of its own",
        )
    return Problem(
        "warning",
        "noise",
        name,
        f"the distribution of site {name!r} depends on random numbers (numpyro.prng_key) that are "
        "no site, so log q is that of one case, not of all",
        "randomness that comes from numpyro.sample",
        f"Take numpyro.prng_key out of what {name!r} is drawn from",
    )
