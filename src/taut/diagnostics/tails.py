"""Which standard deviations rest on a few draws far out.

The standard error of the sd of n independent draws is sqrt((kurtosis - 1) / 4 n) of it. Where the
kurtosis is large, as for tails that have hardly a variance, an sd of a few thousand draws says
little, and too little where the rarest values were not reached at all.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# Of 1,500 independent draws the sd is then known to no better than five per cent.
LARGE_KURTOSIS = 1.0 + 4.0 * 1500 * 0.05**2


def heavy_tails(
    names: Sequence[str], values: Float[np.ndarray, "draws scalars"]
) -> dict[str, float]:
    """Return the kurtosis of each scalar where it is large; that of a normal is three."""
    centred = np.asarray(values, float)
    centred = centred - centred.mean(axis=0)
    # Scaled to one first: fourth powers overflow.
    centred = centred / np.maximum(np.abs(centred).max(axis=0), 1e-300)
    variance = (centred**2).mean(axis=0)
    kurtosis = (centred**4).mean(axis=0) / np.maximum(variance**2, 1e-300)
    return {
        names[i]: float(kurtosis[i]) for i in np.flatnonzero(kurtosis > LARGE_KURTOSIS).tolist()
    }
