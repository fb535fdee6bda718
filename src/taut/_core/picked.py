"""Rows picked from few, as groups' coefficients are for their data, with quick derivatives.

The derivative of `x[index]` adds up rows one after the other: XLA makes a loop over the index of
it, which takes long to compile and on a processor longer to run than all the rest of a small model.
For few rows a product with zeros and ones does the same.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn

# Rows to pick from, numbers in them, and numbers in the matrix of zeros and ones, up to which the
# product takes less time than the loop, for batches of 16 to 256 in single and double precision.
MOST_ROWS, MOST_NUMBERS, MOST_CHOICES = 32, 64, 2**16


def picked(equation: JaxprEqn) -> ClosedJaxpr | None:
    """Return a function of a gather's operands that computes the same, or None.

    Args:
        equation: a gather.
    """
    avals: list[Any] = [v.aval for v in equation.invars]
    rows, index = avals
    params = equation.params
    if not jnp.issubdtype(rows.dtype, jnp.floating) or not _picks_rows(rows, index, params):
        return None
    types = ((a.shape, a.dtype) for a in avals)
    return _traced(equation.primitive, tuple(params.items()), *types)


def _picks_rows(rows: Any, index: Any, params: dict[str, Any]) -> bool:
    """Whether whole rows of few are picked, by one index each."""
    numbers, axes = params["dimension_numbers"], index.ndim - 1
    whole = (
        numbers.offset_dims == tuple(range(axes, axes + rows.ndim - 1))
        and numbers.collapsed_slice_dims == numbers.start_index_map == (0,)
        and not numbers.operand_batching_dims
        and params["slice_sizes"] == (1, *rows.shape[1:])
    )
    few = 0 < rows.shape[0] <= MOST_ROWS and rows.size <= MOST_NUMBERS
    return whole and few and rows.shape[0] * index.size <= MOST_CHOICES


@functools.lru_cache(64)
def _traced(gather: Any, params: tuple, rows: tuple, index: tuple) -> ClosedJaxpr:
    options = dict(params)

    @jax.custom_jvp
    def pick(x: Any, index: Any) -> Any:
        return gather.bind(x, index, **options)

    @pick.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        clip = options["mode"] == lax.GatherScatterMode.CLIP
        return pick(*primals), picked_slope(tangents[0], primals[1], clip)

    return jax.make_jaxpr(pick)(*(jax.ShapeDtypeStruct(*kind) for kind in (rows, index)))


@functools.partial(jax.jit, static_argnums=2)
def picked_slope(along: Any, index: Any, clip: bool) -> Any:
    """Return rows (n, *row) picked by an index (*shape, 1), zero where it is out of range.

    Args:
        along: the rows.
        index: which to pick.
        clip: an index out of range means the first or the last row.
    """
    count = len(along)
    index = jnp.clip(index, 0, count - 1) if clip else index
    chosen = (index == jnp.arange(count, dtype=index.dtype)).astype(along.dtype)
    contracted = (((index.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(chosen, along, contracted, precision=lax.Precision.HIGHEST)
