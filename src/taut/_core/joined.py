"""Operations on few numbers that take long to compile, made together where they are alike.

A log gamma function is a hundred operations to the compiler, be it of one number or of many, and
its derivative another hundred. The density of a beta distribution has five of them. Random bits are
a loop for each key that they are drawn from, and 40 ms; one hash makes those of many keys.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var
from jax.extend.random import threefry2x32_p

from taut._core.equations import standing_for
from taut._core.random_keys import counts_in_parts

_COSTLY = ("lgamma", "digamma", "erf_inv")

# What joins larger arrays costs more when it runs than it saves; hashes cost more themselves.
_LARGEST = 64
_LARGEST_DRAWN = 1024


def joined(equations: Sequence[JaxprEqn], consts: list[tuple[Var, Any]]) -> list[JaxprEqn]:
    """Return equations that compute the same, one in place of all that are alike.

    Those are alike that apply one operation to one type, none to what another gives. The order
    changes, so equations with effects are returned as they are.

    Args:
        equations: of one function.
        consts: is given the constants that new equations read.
    """
    if sum(map(_is_costly, equations)) < 2 or any(e.effects for e in equations):
        return list(equations)
    # How many costly operations, at most, lie one after another on the way to a value.
    depths: defaultdict[Any, int] = defaultdict(int)
    plain: defaultdict[int, list[JaxprEqn]] = defaultdict(list)
    alike: defaultdict[int, dict[Any, list[JaxprEqn]]] = defaultdict(dict)
    for equation in equations:
        reads = (v for v in equation.invars if not isinstance(v, Literal))
        depth = max((depths[v] for v in reads), default=0)
        if _is_costly(equation):
            kind = equation.primitive, _aval(equation).dtype
            alike[depth].setdefault(kind, []).append(equation)
            depth += 1
        else:
            plain[depth].append(equation)
        depths.update((v, depth) for v in equation.outvars)
    ordered = []
    for depth in range(max(depths.values()) + 1):
        ordered += plain[depth]
        for group in alike[depth].values():
            ordered += group if len(group) == 1 else _together(group, consts)
    return ordered


def _is_costly(equation: JaxprEqn) -> bool:
    name, given = equation.primitive.name, equation.invars
    if name == "random_bits":
        key, size = _aval(equation), _size(equation)
        few = 0 < size <= _LARGEST_DRAWN and equation.params["bit_width"] == 32
        return few and key.shape == () and counts_in_parts(key.dtype)
    return name in _COSTLY and isinstance(given[0], Var) and 0 < _size(equation) <= _LARGEST


def _aval(equation: JaxprEqn) -> Any:
    """Return the shape and type of what an equation reads."""
    return equation.invars[0].aval


def _size(equation: JaxprEqn) -> int:
    out: Any = equation.outvars[0].aval
    return out.size


def _together(group: Sequence[JaxprEqn], consts: list[tuple[Var, Any]]) -> list[JaxprEqn]:
    """Return the equations that make one operation of several, for the same variables."""
    shapes = [e.outvars[0].aval.shape for e in group]  # pyright: ignore[reportAttributeAccessIssue]
    ends = np.cumsum([_size(e) for e in group])

    def together(*values: Any) -> list[Any]:
        if group[0].primitive.name == "random_bits":
            made = _bits(values, [_size(e) for e in group])
        else:
            flat = jnp.concatenate([jnp.ravel(v) for v in values])
            made = group[0].primitive.bind(flat, **group[0].params)
        pieces = zip(shapes, np.r_[0, ends[:-1]], ends, strict=True)
        return [made[start:end].reshape(shape) for shape, start, end in pieces]

    return standing_for(together, group, group, consts)


def _bits(keys: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Return random bits of several keys side by side, as `jax.random.bits` draws them."""
    numbers = [
        jnp.broadcast_to(jax.random.key_data(key), (size, 2))
        for key, size in zip(keys, sizes, strict=True)
    ]
    first, second = jnp.concatenate(numbers).T
    low = np.concatenate([np.arange(size, dtype=np.uint32) for size in sizes])
    high, low = threefry2x32_p.bind(first, second, np.zeros_like(low), low)
    return high ^ low
