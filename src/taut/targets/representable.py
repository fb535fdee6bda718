"""Which data single precision cannot hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from taut._core.precision import native_dtype

# Of the spread of an argument's values, how much rounding them may be. Gradients of a thousand
# sds away from zero would still be right to this share.
ROUNDED = 1e-3

# Values that differ by no more than this share of their size differ by rounding in double.
SAME = 1e-12


def lost_in_single(names: Sequence[str], leaves: Sequence[Any]) -> str:
    """Say which argument single precision cannot hold, or return an empty string.

    Values may be too large for it, integers have more digits, and times far from their origin,
    such as Julian dates, be rounded by much of what they differ by.

    Args:
        names: of the data leaves.
        leaves: arrays as they were given.
    """
    reasons = (_lost(name, v) for name, v in zip(names, leaves, strict=True) if _wide(v))
    return next((reason for reason in reasons if reason), "")


def dtype_without(lost: str) -> np.dtype:
    """Return the floating type that loses nothing: double where single loses that, or JAX's own."""
    return np.dtype(np.float64) if lost else native_dtype()


def _wide(leaf: Any) -> bool:
    """Whether an array may hold more than JAX keeps of it in single precision."""
    return isinstance(leaf, np.ndarray) and leaf.dtype.itemsize > 4 and leaf.dtype.kind in "iuf"


def _lost(name: str, values: np.ndarray) -> str:
    if values.dtype.kind in "iu":
        limits = np.iinfo(np.int32 if values.dtype.kind == "i" else np.uint32)
        beyond = (values < limits.min) | (values > limits.max)
        return f"argument {name!r} holds integers beyond its range" if beyond.any() else ""
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return ""
    with np.errstate(over="ignore"):
        single = known.astype(np.float32)
    if not np.isfinite(single).all():
        return f"argument {name!r} holds values beyond its range"
    # Halved first, so that no difference of two values overflows.
    spread, error = 2.0 * np.std(0.5 * known), np.abs(known - single).max()
    if error > ROUNDED * spread and spread > SAME * np.abs(known).max():
        return (
            f"argument {name!r} is rounded by up to {error:.1g}, and its values differ by no more "
            f"than {np.ptp(0.5 * known) * 2.0:.2g}"
        )
    return ""
