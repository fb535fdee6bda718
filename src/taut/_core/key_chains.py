"""Random keys that are split one after another, split in one loop.

A program gives each of its draws a key, split off the key that the draw before left over. To the
compiler each split is a loop of its own, and 30 ms. Those along one path are the turns of one loop.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Var
from jax.extend.random import threefry2x32_p

from taut._core.equations import standing_for
from taut._core.random_keys import counts_in_parts

# Two splits compile as soon apart.
SHORTEST = 3


def chained(equations: Sequence[JaxprEqn], consts: list[tuple[Var, Any]]) -> list[JaxprEqn]:
    """Return equations that compute the same, paths of splits in one loop each.

    The order changes, so equations with effects are returned as they are.

    Args:
        equations: of one function.
        consts: is given the constants that new equations read.
    """
    if sum(map(_is_split, equations)) < SHORTEST or any(e.effects for e in equations):
        return list(equations)
    first: dict[int, list[JaxprEqn]] = {}
    others: set[int] = set()
    for path, taken in _paths(equations):
        first[id(path[0])] = _in_one_loop(path, taken, consts)
        others.update(map(id, path[1:]))
    chosen = (first.get(id(e), [e]) for e in equations if id(e) not in others)
    return [equation for part in chosen for equation in part]


def _is_split(equation: JaxprEqn) -> bool:
    """Whether an equation makes two keys of one."""
    if equation.primitive.name != "random_split" or equation.params["shape"] != (2,):
        return False
    key: Any = equation.invars[0].aval
    return key.shape == () and counts_in_parts(key.dtype)


def _paths(equations: Sequence[JaxprEqn]) -> list[tuple[list[JaxprEqn], list[int]]]:
    """Return paths of splits that share none, and which key of each leads to the next."""
    sources = {v: e for e in equations for v in e.outvars}
    splits = [e for e in equations if _is_split(e)]
    children: dict[int, list[tuple[int, JaxprEqn]]] = {id(e): [] for e in splits}
    inner = set()
    for split in splits:
        taken_from = _parent(split, sources)
        if taken_from is not None and id(taken_from[0]) in children:
            parent, index = taken_from
            children[id(parent)].append((index, split))
            inner.add(id(split))
    length: dict[int, int] = {}
    for split in reversed(splits):
        length[id(split)] = 1 + max((length[id(c)] for _, c in children[id(split)]), default=0)
    paths, starts = [], [e for e in splits if id(e) not in inner]
    while starts:
        path, taken = [starts.pop()], []
        while below := children[id(path[-1])]:
            index, longest = max(below, key=lambda pair: length[id(pair[1])])
            starts += [child for _, child in below if child is not longest]
            path.append(longest)
            taken.append(index)
        if len(path) >= SHORTEST:
            paths.append((path, taken))
    return paths


def _parent(split: JaxprEqn, sources: dict[Any, JaxprEqn]) -> tuple[JaxprEqn, int] | None:
    """Return the operation that a split's key was taken from, and which of its results it is."""
    made, out = _maker(split, sources), split.invars[0]
    raw = _is(made, "random_wrap")
    if raw:  # a key of `jax.random.PRNGKey`: numbers, made a key for each operation
        made, out = _maker(made, sources), made.invars[0]
    if _is(made, "unstack") and made.params["axis"] == 0:
        index = [id(v) for v in made.outvars].index(id(out))
    elif _is(made, "squeeze") and made.params["dimensions"] == (0,):
        made = _maker(made, sources)
        if not _is(made, "slice"):
            return None
        index = made.params["start_indices"][0]
    else:
        return None
    made = _maker(made, sources)
    if raw:
        made = _maker(made, sources) if _is(made, "random_unwrap") else None
    return None if made is None else (made, index)


def _maker(equation: Any, sources: dict[Any, JaxprEqn]) -> Any:
    """Return the operation that made what an equation reads first, if it is one of these."""
    first = equation.invars[0] if equation is not None and equation.invars else None
    return sources.get(first) if isinstance(first, Var) else None


def _is(equation: Any, name: str) -> bool:
    return equation is not None and equation.primitive.name == name


def _in_one_loop(
    path: Sequence[JaxprEqn], taken: Sequence[int], consts: list[tuple[Var, Any]]
) -> list[JaxprEqn]:
    second = np.array([*taken, 0], bool)

    def split(key: Any, second: Any) -> tuple[Any, Any]:
        # What `jax.random.split` does: the numbers of the keys are hashed.
        high, low = np.zeros(2, np.uint32), np.arange(2, dtype=np.uint32)
        numbers = (jnp.broadcast_to(part, (2,)) for part in (key[0], key[1]))
        keys = jnp.stack(threefry2x32_p.bind(*numbers, high, low), axis=1)
        return jnp.where(second, keys[1], keys[0]), keys

    def together(key: Any) -> list[Any]:
        _, keys = jax.lax.scan(split, jax.random.key_data(key), second)
        kind = jax.random.key_impl(key)
        return [jax.random.wrap_key_data(pair, impl=kind) for pair in keys]

    return standing_for(together, path[:1], path, consts)
