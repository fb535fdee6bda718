"""Fixed standard-normal noise that matches the moments of the normal exactly.

A sample-average objective with independent draws fails for a full-rank Gaussian: it fits the draws'
own mean and covariance. Draws that are antithetic and whitened have mean zero and covariance one,
and one natural-gradient step on them is exact for a Gaussian posterior.
"""

import numpy as np
from jaxtyping import Float


def matched_noise(draws: int, dim: int, rng: np.random.Generator) -> Float[np.ndarray, "draws dim"]:
    """Return antithetic noise with mean zero and, when draws >= 2 dim, covariance one.

    With fewer draws each coordinate has variance one.
    """
    half = rng.standard_normal((draws // 2, dim))
    if len(half) >= dim:
        variances, axes = np.linalg.eigh(half.T @ half / len(half))
        half = half @ (axes / np.sqrt(variances)) @ axes.T
    else:
        half = half / np.sqrt((half**2).mean(axis=0))
    return np.concatenate([half, -half])


def power_of_two(value: float) -> int:
    """Return the smallest power of two that is at least `value`."""
    return 2 ** int(np.ceil(np.log2(max(value, 1.0))))
