"""The floating type models run in.

A model runs in JAX's default precision. Where single precision turns out not to be enough, a fit is
repeated with JAX set to double for the time being; everything that evaluates the model then asks
for the same.
"""

import contextlib

import jax
import numpy as np


def native_dtype() -> np.dtype:
    """Return JAX's current floating type: float32, or float64 when it is set to x64."""
    return np.dtype(jax.dtypes.canonicalize_dtype(np.float64))


def precision_of(dtype: np.dtype) -> contextlib.AbstractContextManager:
    """Return a context in which JAX computes in `dtype` (float32 or float64)."""
    if np.dtype(dtype) == native_dtype():
        return contextlib.nullcontext()
    return jax.enable_x64(np.dtype(dtype) == np.float64)
