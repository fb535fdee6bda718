"""NumPy on the host, JAX when traced: one formula for both.

A guide is evaluated thousands of times by the host in float64, where NumPy has no compile time, and
must also be differentiable by JAX. Its formulas are therefore written against `namespace(...)`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg


def namespace(*arrays: Any) -> Any:
    """Return `jax.numpy` if any argument is a JAX array or tracer, else `numpy`."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


def solve_lower(factor: Any, right: Any) -> Any:
    """Solve `factor @ x = right` for a lower-triangular `factor` (dim, dim) and (dim, n)."""
    if namespace(factor, right) is np:
        return scipy.linalg.solve_triangular(factor, right, lower=True, check_finite=False)
    return jax.scipy.linalg.solve_triangular(factor, right, lower=True)


def match_dtype(value: Any, like: Any) -> Any:
    """Cast `value` to the floating type of `like`, so that dtype in equals dtype out."""
    return value.astype(like.dtype) if value.dtype != like.dtype else value
