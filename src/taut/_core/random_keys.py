"""Random keys with a type of their own, as `jax.random.key` makes them, among arrays of numbers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_random_key(value: Any) -> bool:
    """Whether a value is an array of random keys."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def as_numbers(value: Any) -> np.ndarray:
    """Return a value as an array on the host, random keys as the integers they are made of."""
    return np.asarray(jax.random.key_data(value) if is_random_key(value) else value)


def counts_in_parts(key_type: Any) -> bool:
    """Whether keys of a type draw and split by hashing the number of each result, as JAX's own do.

    Then many draws are one hash of many numbers, whichever key each belongs to.
    """
    partitionable = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    return str(key_type) == "key<fry>" and partitionable


def key_numbers(seed: Any, count: int) -> np.ndarray:
    """Return the numbers of independent keys, for `jax.random.wrap_key_data`, made on the host.

    To split a key takes a program for each number of keys, a quarter of a second to compile.

    Args:
        seed: where they come from: a number, or a random key.
        count: how many.
    """
    seed = as_numbers(seed).tolist() if is_random_key(seed) else seed
    implementation = jax.config.jax_default_prng_impl  # pyright: ignore[reportAttributeAccessIssue]
    bits = np.random.default_rng(seed)
    return bits.integers(0, 2**32, (count, *_shape_of_key(implementation)), np.uint32)


@functools.cache
def _shape_of_key(implementation: str) -> tuple[int, ...]:
    key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=implementation)))
    return key.shape
