"""Compiled programs that hold copies of the NumPy arrays a user's function reads.

JAX remembers what it made of an array, by the array's identity, for as long as any program holds
that. A program kept for later would so make every new program see the array as it was then, though
it has been refilled since.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.extend
import numpy as np


def own_constants(function: Callable) -> Callable:
    """Return a function to be compiled, which holds copies of the NumPy arrays it reads."""

    def run(*arguments: Any) -> Any:
        # JAX keeps what it traced for as long as the function traced is there: this one goes.
        once = jax.make_jaxpr(lambda *a: function(*a), return_shape=True)
        closed, shapes = once(*arguments)
        flat = jax.extend.core.jaxpr_as_fun(with_copies(closed))(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), flat)

    return run


def with_copies(closed: Any) -> Any:
    """Return a traced function with copies of the NumPy arrays it holds."""
    consts = [np.array(c) if isinstance(c, np.ndarray) else c for c in closed.consts]
    return jax.extend.core.ClosedJaxpr(closed.jaxpr, consts)
