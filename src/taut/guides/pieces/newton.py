"""Inverting a map of one event by Newton's method."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

STEPS = 64

# Residual, relative to the value, beyond which no inverse was found: a few hundred roundings.
ACCURACY = 3e2


def invert(fn: Callable[[Any], Any], value: Any) -> Any:
    """Solve fn(x) = value from x = 0 by damped Newton steps.

    Args:
        fn: a smooth map of one event to an event of the same shape.
        value: an event in its range.

    Returns:
        The solution; NaN if none was found.
    """
    value = jnp.asarray(value)
    shape = jnp.shape(value)
    target = jnp.ravel(value)

    def flat(x: Any) -> Any:
        return jnp.ravel(fn(x.reshape(shape)))

    def miss(x: Any) -> Any:
        found = jnp.max(jnp.abs(flat(x) - target))
        return jnp.where(jnp.isfinite(found), found, jnp.inf)

    def step(_: Any, x: Any) -> Any:
        change = jnp.linalg.solve(jax.jacfwd(flat)(x), target - flat(x))
        lengths = 0.5 ** jnp.arange(12.0, dtype=x.dtype)
        trials = x + lengths[:, None] * change
        misses = jax.vmap(miss)(trials)
        best = jnp.argmin(misses)
        return jnp.where(misses[best] < miss(x), trials[best], x)

    start = jnp.zeros_like(target)
    found = jax.lax.stop_gradient(jax.lax.fori_loop(0, STEPS, step, start))
    # One more step carries the derivatives of the solution with respect to all that fn reads.
    slope = jax.lax.stop_gradient(jax.jacfwd(flat)(found))
    found = found + jnp.linalg.solve(slope, target - flat(found))
    room = ACCURACY * jnp.finfo(target.dtype).eps * (1.0 + jnp.max(jnp.abs(target)))
    solved = jnp.asarray(jnp.where(miss(found) <= room, found, jnp.nan))
    return solved.reshape(shape)
