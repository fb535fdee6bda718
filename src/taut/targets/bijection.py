"""The bijection from R^n to a support: NumPyro's, with a logistic function of fewer operations.

`-softplus(x) - softplus(-x)` is exact but each softplus brings a differentiation rule of its own,
and so do maximum, minimum and absolute value, which share gradients between equals; in a small
model with a few bounded sites they are a third of what is traced and compiled.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import ComposeTransform, SigmoidTransform, Transform


class _Logistic(SigmoidTransform):
    def __call__(self, x: Any) -> Any:
        dtype = jnp.result_type(x, float)
        limits = jnp.finfo(dtype)
        # Inside (0, 1) as NumPyro has it, where rounding would reach its ends.
        low, high = (np.asarray(v, dtype)[()] for v in (limits.tiny, 1.0 - limits.eps))
        return jax.lax.clamp(low, jax.nn.sigmoid(x), high)

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> Any:
        minus_size = -x * jax.lax.sign(x)
        return minus_size - 2.0 * jnp.log1p(jnp.exp(minus_size))


def latent_bijection(support: Any) -> Transform:
    """Return the bijection from R^n to `support`.

    Raises:
        NotImplementedError: there is none.
    """
    bijection = biject_to(support)
    if type(bijection) is SigmoidTransform:
        return _Logistic()
    if type(bijection) is ComposeTransform:
        parts = [_Logistic() if type(p) is SigmoidTransform else p for p in bijection.parts]
        return ComposeTransform(parts)
    return bijection
