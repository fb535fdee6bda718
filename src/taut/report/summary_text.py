"""The summary as lines of text: aligned, at most 80 columns, digits decided by the sd."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from taut.report.numbers import format_count, format_short, format_to_uncertainty
from taut.report.terminal import COLUMNS, pad, printable, shorten_middle, width

NUMBER_COLUMNS = ("mean", "sd", "5%", "25%", "50%", "75%", "95%", "mcse", "ess", "k_hat")
# Given up in this order where the numbers leave no room; mean, sd and interval stay longest.
_EXPENDABLE = (("25%", "75%"), ("mcse",), ("ess",), ("50%",), ("k_hat",), ("5%", "95%"))
_GAP = 2
_NAME_AT_LEAST = 16


def format_row(row: Float[np.ndarray, "10"]) -> list[str]:
    """Return the cells of one scalar, in the order of `NUMBER_COLUMNS`."""
    mean, sd, *quantiles, mcse, ess, k_hat = row.tolist()
    at, *spread = format_to_uncertainty([mean, *quantiles], sd)
    shape = "-" if math.isnan(k_hat) else f"{k_hat:.2f}"
    return [at, format_short(sd), *spread, format_short(mcse), format_count(ess), shape]


def table_lines(
    names: Sequence[str], values: Float[np.ndarray, "scalars 10"], max_rows: int
) -> list[str]:
    """Return a head and rows, at most `max_rows` lines in all.

    Rows that do not fit are counted in a last line; columns that do not fit are named in it.
    """
    rows = [format_row(row) for row in values[: max(max_rows - 1, 1)]]
    labels = [printable(name) for name in names[: len(rows)]]
    kept, room = _fit_columns(labels, rows)
    footer = _footer(len(names) - len(rows), kept)
    if footer and len(rows) + 2 > max_rows:
        rows = rows[: max(max_rows - 2, 1)]
        footer = _footer(len(names) - len(rows), kept)
    widths = {c: _column_width(rows, c) for c in kept}
    lines = [" " * room + "".join(_right(NUMBER_COLUMNS[c], widths[c]) for c in kept)]
    for label, row in zip(labels, rows, strict=False):
        cells = "".join(_right(row[c], widths[c]) for c in kept)
        lines.append(pad(shorten_middle(label, room), room) + cells)
    return [*lines, footer] if footer else lines


def _fit_columns(labels: list[str], rows: list[list[str]]) -> tuple[list[int], int]:
    """Return the columns to show and the width of the names."""
    longest = max((width(label) for label in labels), default=0)
    kept = list(range(len(NUMBER_COLUMNS)))
    needed = min(longest, _NAME_AT_LEAST)
    for dropped in _EXPENDABLE:
        if _free(rows, kept) >= needed:
            break
        kept = [c for c in kept if NUMBER_COLUMNS[c] not in dropped]
    return kept, max(min(longest, _free(rows, kept)), 1)


def _free(rows: list[list[str]], kept: list[int]) -> int:
    return COLUMNS - sum(_column_width(rows, c) + _GAP for c in kept)


def _column_width(rows: list[list[str]], column: int) -> int:
    return max(len(NUMBER_COLUMNS[column]), *(len(row[column]) for row in rows), 0)


def _right(text: str, columns: int) -> str:
    return " " * (_GAP + columns - len(text)) + text


def _footer(hidden_rows: int, kept: list[int]) -> str:
    if hidden_rows:
        return f"... and {hidden_rows} more rows: fit.summary()"
    missing = [name for c, name in enumerate(NUMBER_COLUMNS) if c not in kept]
    if missing:
        return f"(no room for {', '.join(missing)}: see .to_frame() or .to_csv())"
    return ""
