"""Choosing draws by their weights."""

import numpy as np
from jaxtyping import Float


def resample(
    log_weights: Float[np.ndarray, " draws"], n: int, rng: np.random.Generator
) -> np.ndarray:
    """Return `n` rows drawn in proportion to normalised weights, by systematic resampling."""
    edges = np.cumsum(np.exp(log_weights))
    positions = (rng.random() + np.arange(n)) / n * edges[-1]
    return np.minimum(np.searchsorted(edges, positions), len(edges) - 1)
