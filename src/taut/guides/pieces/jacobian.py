"""The log determinant of a map's Jacobian, as cheaply as the map's structure allows.

The structure is read from the traced map. Named values that are made from each other in some order
take a determinant for each value, not one for all. Where the rows of a value are mapped one by one,
as in a plate, each row takes a determinant of its own, all from as many derivatives as one row has
numbers; a map of each number by itself takes one derivative and no determinant. Any other map takes
a full Jacobian.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.dependence import dependence
from taut._core.errors import InputError, first_few
from taut.guides.pieces.rows import keeps_rows

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Block:
    """Some outputs of a map that together are made of as many numbers.

    Attributes:
        made: the names of the outputs.
        sources: the names of the inputs they use up.
        log_det: log|det| of each row, (rows...); the rows are the leading axes that all of these
            share, as far as the map does not mix them.
    """

    made: tuple[str, ...]
    sources: tuple[str, ...]
    log_det: Any


def log_abs_det(fn: Callable[[Values], Values], values: Values) -> Any:
    """log|det J| of a map between named arrays, at one point.

    Args:
        fn: from a dict of arrays to a dict of arrays with as many numbers in all.
        values: the point.

    Returns:
        A scalar; minus infinity where the map cannot be inverted.

    Raises:
        InputError: another count of numbers comes out than goes in, or some outputs together depend
            on too few inputs for a density to exist.
    """
    return sum((jnp.sum(block.log_det) for block in log_abs_dets(fn, values)), jnp.zeros(()))


def log_abs_dets(
    fn: Callable[[Values], Values], values: Values, known: Collection[str] = ()
) -> list[Block]:
    """log|det J| of a map between named arrays, block by block of its outputs.

    Args:
        fn: from a dict of arrays to a dict of arrays with as many numbers in all.
        values: the point.
        known: outputs whose density was stated. A block that holds one of them need not have one
            for Taut to compute, so it may be made of too many or too few numbers; it is then left
            out.

    Returns:
        All outputs, in blocks.

    Raises:
        InputError: another count of numbers comes out than goes in, or some outputs together depend
            on too few inputs for a density to exist.
    """
    values = {name: jnp.asarray(v) for name, v in values.items()}
    closed, shapes = jax.make_jaxpr(fn, return_shape=True)(values)
    inputs, outputs = sorted(values), sorted(shapes)
    sizes = {name: int(np.size(v)) for name, v in values.items()}
    made = {name: int(np.prod(s.shape, dtype=int)) for name, s in shapes.items()}
    if not known and sum(made.values()) != sum(sizes.values()):
        raise InputError(count_words(outputs, sum(made.values()), sum(sizes.values())))
    smooth = [{inputs[i] for i in found} for found in dependence(closed, gradient=True)]
    depends = dict(zip(outputs, smooth, strict=True))
    blocks = []
    while depends:
        names = _next_block(depends, made, sizes)
        sources = set().union(*(depends[name] for name in names))
        source, count = sum(sizes[n] for n in sources), sum(made[n] for n in names)
        if source == count:
            ordered = tuple(sorted(sources))
            blocks.append(Block(names, ordered, _log_det(fn, values, names, ordered)))
        elif not set(names) & set(known):
            raise InputError(count_words(names, count, source))
        depends = {n: found - sources for n, found in depends.items() if n not in names}
    return blocks


def _next_block(
    depends: dict[str, set], made: dict[str, int], sizes: dict[str, int]
) -> tuple[str, ...]:
    """One output made of as many numbers as it has, or of too few; otherwise all that are left."""
    left = sorted(depends)
    enough = [sum(sizes[n] for n in depends[name]) > made[name] for name in left]
    return tuple(left) if all(enough) else (left[enough.index(False)],)


def _log_det(fn: Callable, values: Values, names: tuple[str, ...], sources: tuple[str, ...]) -> Any:
    moving = [values[name] for name in sources]

    def part(arrays: list[Any]) -> list[Any]:
        made = fn({**values, **dict(zip(sources, arrays, strict=True))})
        return [jnp.asarray(made[name]) for name in names]

    closed, shapes = jax.make_jaxpr(part, return_shape=True)(moving)
    common = _common_prefix([v.shape for v in (*moving, *shapes)])
    depth = next(d for d in range(len(common), -1, -1) if d == 0 or keeps_rows(closed, d))
    rows = common[:depth]

    def flat(arrays: list[Any]) -> Any:
        return jnp.concatenate([v.reshape((*rows, -1)) for v in arrays], axis=-1)

    point = flat(moving)
    numbers = point.shape[-1]

    def moved(direction: Any) -> Any:
        """The derivative of every row in one direction of its own numbers."""
        tangent, start = [], 0
        for array in moving:
            size = array.size // max(1, int(np.prod(rows, dtype=int)))
            piece = jnp.broadcast_to(direction[start : start + size], (*rows, size))
            tangent.append(piece.reshape(array.shape).astype(array.dtype))
            start += size
        return flat(jax.jvp(part, (moving,), (tangent,))[1])

    if numbers == 1:
        return jnp.log(jnp.abs(moved(jnp.ones(1))[..., 0]))
    columns = jax.vmap(moved, out_axes=-1)(jnp.eye(numbers, dtype=point.dtype))
    return _log_abs_det(columns)


def _log_abs_det(matrices: Any) -> Any:
    """log|det| of matrices (..., n, n); that of two rows and columns is written out.

    A factorisation and its derivative take XLA a seventh of a second to compile. Three rows would
    need a choice of pivots to be as exact.
    """
    if matrices.shape[-1] != 2:
        return jnp.linalg.slogdet(matrices)[1]
    # Rows of about one, so that no product of them overflows.
    sizes = jax.lax.stop_gradient(jnp.max(jnp.abs(matrices), axis=-1))
    sizes = jnp.where(sizes > 0.0, sizes, 1.0)
    first, second = jnp.moveaxis(matrices / sizes[..., None], -2, 0)
    determinant = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    return jnp.log(jnp.abs(determinant)) + jnp.log(sizes).sum(axis=-1)


def _common_prefix(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    prefix = []
    for sizes in zip(*shapes, strict=False):
        if len(set(sizes)) > 1:
            break
        prefix.append(sizes[0])
    return tuple(prefix)


def count_words(names: Collection[str], made: int, source: int) -> str:
    """Say that so many numbers cannot be made from so many auxiliaries."""
    verb = "is" if len(names) == 1 and made == 1 else "are"
    numbers = "number" if made == 1 else "numbers"
    auxiliaries = "auxiliary" if source == 1 else "auxiliaries"
    why = "no density exists" if made > source else "their density is an integral"
    return (
        f"{first_few(list(names))} {verb} {made} {numbers} made from {source} {auxiliaries}; {why}."
        " Make as many numbers as there are auxiliaries, each from one more of them"
    )
