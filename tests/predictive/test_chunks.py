"""Chunks of draws: the bound on memory holds, and no draw depends on the chunk it is in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from taut.predictive.chunks import MOST_ROWS, Chunks

SINGLE = np.dtype(np.float32)
ROW = jax.ShapeDtypeStruct((), SINGLE)


def outer(row, data):
    """A hundred numbers from a temporary of ten thousand."""
    table = jnp.sort(row * jnp.outer(data, data), axis=0)
    return {"sum": table.sum(axis=0)}


@pytest.mark.parametrize("megabytes", [0.1, 1.0, 10.0])
def test_the_compiled_program_keeps_to_the_bound(megabytes):
    data = np.linspace(0.0, 1.0, 100, dtype=np.float32)
    chunks = Chunks(outer, ROW, data, 4000, megabytes * 1e6, SINGLE)
    assert chunks.rows == 1 or chunks.memory <= megabytes * 1e6
    rows = np.arange(37, dtype=np.float32)
    expected = [np.sort(r * np.outer(data, data), axis=0).sum(axis=0) for r in rows]
    # Sums of a hundred positive numbers: a hundred roundings at most.
    np.testing.assert_allclose(chunks(rows, data)["sum"], expected, rtol=100 * 2**-24)


def test_a_small_result_takes_the_most_rows():
    chunks = Chunks(lambda row, data: {"x": row + data}, ROW, np.float32(1.0), 4000, 1e9, SINGLE)
    assert chunks.rows == MOST_ROWS
    made = chunks(np.arange(2500, dtype=np.float32), np.float32(1.0))
    np.testing.assert_array_equal(made["x"], np.arange(2500) + 1.0)
