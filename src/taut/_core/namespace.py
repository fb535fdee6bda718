"""NumPy on the host, JAX when traced: one formula for both.

A guide is evaluated thousands of times by the host in float64, where NumPy has no compile time, and
must also be differentiable by JAX. Its formulas are therefore written against `namespace(...)`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg.lapack


def namespace(*arrays: Any) -> Any:
    """Return `jax.numpy` if any argument is a JAX array or tracer, else `numpy`."""
    for array in arrays:
        # Asking whether something is a JAX array takes a microsecond, which the host has not.
        if type(array) is not np.ndarray and isinstance(array, jax.Array):
            return jnp
    return np


def solve_lower(factor: Any, right: Any) -> Any:
    """Solve `factor @ x = right` for a lower-triangular `factor` (dim, dim) and (dim, n)."""
    if namespace(factor, right) is np:
        # SciPy's own function takes seven times as long for two right sides of a small factor.
        (solve,) = scipy.linalg.lapack.get_lapack_funcs(("trtrs",), (factor, right))
        result, info = solve(factor.T, right, lower=0, trans=1)
        if info:
            raise np.linalg.LinAlgError(f"the factor is singular: its diagonal is 0 at {info - 1}")
        return result
    return jax.scipy.linalg.solve_triangular(factor, right, lower=True)


def match_dtype(value: Any, like: Any) -> Any:
    """Cast `value` to the floating type of `like`, so that dtype in equals dtype out."""
    return value.astype(like.dtype) if value.dtype != like.dtype else value
