"""The floating type models run in.

A model runs in JAX's default precision. Where single precision turns out not to be enough, a fit is
repeated with JAX set to double for the time being; everything that evaluates the model then asks
for the same.
"""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np


def native_dtype() -> np.dtype:
    """Return JAX's current floating type: float32, or float64 when it is set to x64."""
    return np.dtype(jax.dtypes.canonicalize_dtype(np.float64))


def precision_of(dtype: np.dtype) -> contextlib.AbstractContextManager:
    """Return a context in which JAX computes in `dtype` (float32 or float64), products too.

    Accelerators round the factors of a single-precision matrix product to 11 bits or fewer unless
    told otherwise, which is too coarse for a density. `jax_default_matmul_precision`, where it is
    set, is left as it is.
    """
    if np.dtype(dtype) == native_dtype() and not _rounds_products():
        return contextlib.nullcontext()
    return _computing_in(np.dtype(dtype))


@contextlib.contextmanager
def _computing_in(dtype: np.dtype) -> Iterator[None]:
    with contextlib.ExitStack() as settings:
        settings.enter_context(jax.enable_x64(dtype == np.float64))
        if _rounds_products():
            settings.enter_context(jax.default_matmul_precision("highest"))
        yield


def _rounds_products() -> bool:
    chosen = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return jax.default_backend() != "cpu" and chosen is None
