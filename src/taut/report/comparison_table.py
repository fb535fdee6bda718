"""The table of a comparison, for the terminal and for notebooks: the same cells in both."""

import html
from collections.abc import Sequence
from typing import Any

from taut.report.numbers import format_short, format_to_uncertainty
from taut.report.terminal import pad, shorten_middle

_ROWS, _ABREAST = 40, 2
_TABLE = (
    "border-collapse:collapse;font-variant-numeric:tabular-nums;text-align:right;"
    "background:transparent;color:inherit"
)
_CELL = "padding:2px 8px"


def text_lines(comparison: Any) -> list[str]:
    """Return the table in blocks of two entries beside the reference: no wider than a terminal."""
    others = _others(comparison)
    lines: list[str] = []
    for i in range(0, len(others), _ABREAST):
        heads, body = _cells(comparison, others[i : i + _ABREAST], short=True)
        widths = [max(map(len, column)) for column in zip(heads, *body, strict=True)]
        lines += [""] * (i > 0)
        lines += [
            pad(cells[0], widths[0])
            + "".join("  " + c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))
            for cells in (heads, *body)
        ]
    hidden = len(comparison.names) - _ROWS
    return [*lines, f"... and {hidden} more rows: .to_frame()"] if hidden > 0 else lines


def html_table(comparison: Any) -> str:
    """Return the table as HTML with every name escaped, all entries side by side."""
    heads, body = _cells(comparison, _others(comparison), short=False)
    head = "".join(f"<th style='{_CELL}'>{html.escape(cell)}</th>" for cell in heads)
    rows = "".join(
        f"<tr><th style='text-align:left;{_CELL}'>{html.escape(cells[0])}</th>"
        + "".join(f"<td style='{_CELL}'>{html.escape(cell)}</td>" for cell in cells[1:])
        + "</tr>"
        for cells in body
    )
    hidden = len(comparison.names) - _ROWS
    more = f"<p>... and {hidden} more rows: .to_frame()</p>" if hidden > 0 else ""
    return (
        f"<div style='overflow-x:auto'><table style='{_TABLE}'><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{more}"
    )


def _others(comparison: Any) -> list[str]:
    return [name for name in comparison.entries if name != comparison.reference]


def _cells(
    comparison: Any, others: Sequence[str], short: bool
) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows, names cut to a terminal's width if `short`."""

    def named(name: str, columns: int) -> str:
        return shorten_middle(name, columns) if short else name

    every = list(comparison.entries)
    reference, rows = every.index(comparison.reference), [every.index(name) for name in others]
    heads = ["", f"{named(comparison.reference, 10)} mean", "sd"]
    for name in others:
        heads += [named(name, 13), "sd ratio"]
    body = []
    for i, scalar in enumerate(comparison.names[:_ROWS]):
        sd = float(comparison.sd[reference, i])
        (mean,) = format_to_uncertainty([float(comparison.mean[reference, i])], sd)
        cells = [named(scalar, 14), mean, format_short(sd)]
        for row in rows:
            difference = float(comparison.difference[row, i])
            digits = ".2f" if abs(difference) < 100 else ".1e"
            cells.append(f"{difference:+{digits}} ± {comparison.error[row, i]:.2f}")
            cells.append(f"{comparison.sd_ratio[row, i]:.2f}")
        body.append(cells)
    return heads, body
