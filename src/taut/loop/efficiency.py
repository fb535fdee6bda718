"""Whether a guide is good enough to be left as it is."""

import numpy as np
from jaxtyping import Float

# A guide whose draws are worth this share of independent ones is left as it is.
GOOD_ENOUGH = 0.95


def efficient(log_weights: Float[np.ndarray, " draws"]) -> bool:
    """Whether draws with these log weights are nearly as good as independent ones."""
    weights = np.exp(log_weights - log_weights.max())
    return bool(weights.sum() ** 2 > GOOD_ENOUGH * len(weights) * (weights**2).sum())
