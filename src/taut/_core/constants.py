"""Compiled programs that hold copies of the NumPy arrays a user's function reads.

JAX remembers what it made of an array, by the array's identity, for as long as any program holds
that. A program kept for later would so make every new program see the array as it was then, though
it has been refilled since.
"""

from collections.abc import Callable

import numpy as np
from jax.extend.core import ClosedJaxpr

from taut._core.retraced import retraced


def own_constants(function: Callable) -> Callable:
    """Return a function to be compiled, which holds copies of the NumPy arrays it reads."""
    return retraced(function, with_copies)


def with_copies(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Return a traced function with copies of the NumPy arrays it holds."""
    consts = [np.array(c) if isinstance(c, np.ndarray) else c for c in closed.consts]
    return ClosedJaxpr(closed.jaxpr, consts)
