"""A `Delta` in a guide: a value that is computed, and the density that was stated with it."""

from typing import Any

import jax
import numpy as np
from numpyro.distributions import Delta
from numpyro.distributions.distribution import (
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
)


def point_of(fn: Any) -> Delta | None:
    """Return the `Delta` inside a distribution, if it is one but for wrappers."""
    while isinstance(fn, (ExpandedDistribution, Independent, MaskedDistribution)):
        fn = fn.base_dist
    return fn if isinstance(fn, Delta) else None


def states_density(fn: Any) -> bool:
    """Whether a `Delta` came with a log density: any but the constant zero it has by itself."""
    point = point_of(fn)
    if point is None:
        return False
    # What is traced or on a device was computed by the user.
    return isinstance(point.log_density, jax.Array) or bool(np.any(point.log_density))
