"""The latent vector that a guide starts from: found only where a param is made from it."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
from numpy.lib.mixins import NDArrayOperatorsMixin


class InitialVector(NDArrayOperatorsMixin):
    """What `numpyro.param` takes as a function of a random key, and `jnp.array` as one of (size,).

    Finding it runs the model, so a guide that only hands it to `numpyro.param` pays for that in its
    first call and not in every step.

    Args:
        size: length of the latent vector.
        start: makes it, given a key; None where all params are known.
    """

    ndim = 1

    def __init__(self, size: int, start: Callable[[Any], Any] | None):
        self.size = size
        self.shape = (size,)
        self._start = start

    def __len__(self) -> int:
        return self.size

    def __call__(self, key: Any) -> Any:
        """Return the vector."""
        return jnp.zeros(self.size) if self._start is None else self._start(key)

    def __jax_array__(self) -> Any:
        return self(None if self._start is None else numpyro.prng_key())

    def __getitem__(self, index: Any) -> Any:
        return jnp.asarray(self)[index]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        arrays = [jnp.asarray(x) if isinstance(x, InitialVector) else x for x in inputs]
        return getattr(jnp, ufunc.__name__)(*arrays, **options)

    @property
    def dtype(self) -> np.dtype:
        """The type of its numbers."""
        return jnp.result_type(float)
