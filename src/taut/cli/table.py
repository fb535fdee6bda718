"""A table of named data, whatever kind of file it came from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

# JAX computes with 32-bit integers unless told otherwise, and larger ones wrap round in silence.
_LARGEST_INTEGER = 2**31 - 1


@dataclass(frozen=True)
class Unusable:
    """A column that cannot be given to a model.

    Attributes:
        reason: A sentence that says what is wrong, where, and what to do.
    """

    reason: str


Value = np.ndarray | int | float | bool
"""What a model's argument can be given: an array, or a plain number."""


@dataclass(frozen=True)
class Table:
    """Named data read from one file.

    Attributes:
        path: The file.
        columns: What each name stands for.
        problems: Sentences about the file as a whole; with any of them the data must not be used.
    """

    path: Path
    columns: dict[str, Value | Unusable]
    problems: tuple[str, ...] = ()


def as_value(array: np.ndarray) -> Value:
    """Make an array of numbers fit to be given to a model.

    Integers become int64, or float64 where any is too large for the 32-bit integers of JAX. An
    array without dimensions becomes a plain number, which a model can use as a size.
    """
    if array.ndim == 0:
        return array.item()
    if array.dtype.kind not in "iu":
        return array
    small = array.size == 0 or max(abs(int(array.min())), int(array.max())) <= _LARGEST_INTEGER
    return array.astype(np.int64 if small else np.float64)


def text_column(place: str, values: list[str]) -> Unusable:
    """Say that a column holds text, and how to code it as numbers.

    Args:
        place: The column and its file, such as "the column 'sex' of data.csv".
        values: The column's distinct values, sorted.
    """
    last = len(values) - 1
    codes = ", ".join(f"{value} = {code}" for code, value in enumerate(values[:3]))
    more = f", ..., {values[-1]} = {last}" if last > 2 else ""
    return Unusable(
        f"{place} holds text and a model needs numbers; code its values as whole "
        f"numbers 0..{last} ({codes}{more})"
    )
