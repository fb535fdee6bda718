"""Which standard deviations rest on a few draws far out.

The standard error of the sd of n independent draws is sqrt((kurtosis - 1) / 4 n) of it. Where the
kurtosis is large, as for tails that have hardly a variance, an sd of a few thousand draws says
little, and too little where the rarest values were not reached at all. Then the kurtosis of the
draws is small, but the shape of their tails still tells: a generalised Pareto tail of shape 1/4 or
more has no fourth moment (Zhang and Stephens 2009, as for the weights).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from taut.diagnostics.psis import fit_pareto


@dataclasses.dataclass(frozen=True)
class Limits:
    """Above which a tail is heavy.

    Attributes:
        kurtosis: of the draws.
        shape: of the heavier of the two tails.
    """

    kurtosis: float
    shape: float


# Of 1,500 independent draws the sd is with this kurtosis known to no better than five per cent.
# From a shape of 1/4 on the fourth moment does not exist, and the sd has no standard error. A shape
# fitted to 200 draws has an error of 0.1 itself, of which half is allowed.
OF_SOME = Limits(round(1.0 + 4.0 * 1500 * 0.05**2, 1), 0.3)

# The kurtosis of some thousand draws of a tail like an exponential's scatters by a factor of up to
# two. Within it, and within the error of a shape, the word is left to a longer look: of 20,000
# draws the sd is with this kurtosis known to two per cent, and the error of a shape is 0.04. States
# of chains must be worth so many draws that it is known to a little more than three per cent.
CLOSE = Limits(2.0 * OF_SOME.kurtosis, OF_SOME.shape + 0.1)
LONG_LOOK, LONG_LOOK_WORTH = 20_480, 7_500.0
OF_MANY = Limits(round(1.0 + 4.0 * 20_000 * 0.02**2, 1), 0.27)

# The share of the draws that a tail's shape is fitted to, and the fewest of them.
TAIL_SHARE, FEWEST = 0.05, 100

# Draws are gone through in blocks of so many numbers, which stay in the cache.
BLOCK = 2**14

# Tails of draws with a smaller kurtosis have no such shape, whatever was not reached.
SUSPECT_KURTOSIS = 6.0


@dataclasses.dataclass(frozen=True)
class Tail:
    """How heavy a tail is.

    Attributes:
        kurtosis: that of a normal is three.
        shape: of the heavier tail; that of a normal is below zero. NaN if it was not looked at.
        limits: above which it is heavy.
    """

    kurtosis: float
    shape: float
    limits: Limits = OF_SOME


def heavy_tails(
    names: Sequence[str],
    values: Float[np.ndarray, "draws scalars"],
    limits: Limits = OF_SOME,
) -> dict[str, Tail]:
    """Return the tail of each scalar whose kurtosis or shape is large; of finite draws only."""
    kurtosis = _kurtosis(np.asarray(values, float))
    found = {}
    for i in np.flatnonzero(kurtosis > SUSPECT_KURTOSIS).tolist():
        tail = Tail(float(kurtosis[i]), _shape(_of_size_one(values[:, i])), limits)
        if tail.kurtosis > limits.kurtosis or tail.shape > limits.shape:
            found[names[i]] = tail
    return found


def close(tails: Mapping[str, Tail]) -> bool:
    """Whether tails were found heavy by a margin that more draws may not bear out."""
    return bool(tails) and all(
        tail.kurtosis < CLOSE.kurtosis and not tail.shape > CLOSE.shape for tail in tails.values()
    )


def _kurtosis(values: Float[np.ndarray, "draws scalars"]) -> Float[np.ndarray, " scalars"]:
    """Return the kurtosis of each scalar, 0 where a draw is not finite or all are the same."""
    with np.errstate(invalid="ignore", over="ignore"):
        lowest, highest, mean = values.min(axis=0), values.max(axis=0), values.mean(axis=0)
        size = highest - lowest
    known = np.isfinite(size) & np.isfinite(mean) & (size > 0.0)
    # Scaled to one first: fourth powers overflow.
    mean, scale = np.where(known, mean, 0.0), np.where(known, 1.0 / np.where(known, size, 1.0), 0.0)
    second, fourth = np.zeros(len(size)), np.zeros(len(size))
    rows = max(1, BLOCK // max(len(size), 1))
    for start in range(0, len(values), rows):
        with np.errstate(invalid="ignore"):
            squares = ((values[start : start + rows] - mean) * scale) ** 2
        second += squares.sum(axis=0)
        fourth += np.einsum("ij,ij->j", squares, squares)
    kurtosis = len(values) * fourth / np.maximum(second**2, 1e-300)
    return np.where(known, kurtosis, 0.0)


def _of_size_one(values: Float[np.ndarray, " draws"]) -> Float[np.ndarray, " draws"]:
    return values / max(float(np.abs(values).max()), 1e-300)


def _shape(values: Float[np.ndarray, " draws"]) -> float:
    """Return the shape of the heavier of the two tails."""
    count = int(TAIL_SHARE * len(values))
    if count < FEWEST:
        return float("nan")
    shapes = []
    for side in (values, -values):
        largest = np.sort(side)[-count - 1 :]
        excess = largest[1:] - largest[0]
        excess = excess[excess > 0.0]
        if len(excess) >= FEWEST:
            with np.errstate(over="ignore"):
                shapes.append(fit_pareto(excess)[0])
    return max(shapes, default=float("nan"))
