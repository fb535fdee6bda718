"""Reads a table from a text file of separated values (CSV).

One header row names the columns. Lines that start with `#` and empty lines are skipped. The
separator is a comma, a semicolon or a tab, whichever the header has most of. Columns of whole
numbers become int64 arrays, other numeric columns float64.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from taut._core.errors import first_few
from taut.cli.table import Table, Unusable, Value, as_value, text_column

_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3},[0-9]{3}")
_INTEGER = re.compile(r"[+-]?[0-9]+")


def read_csv(path: Path) -> Table:
    """Read a CSV file; whatever is wrong with it is said in the table, with line numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        return _spoilt(
            path,
            f"{path} is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8 encoding",
        )
    lines = _Lines(text)
    header_line = next(iter(_Lines(text)), "")
    separator = max(",;\t", key=header_line.count)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        rows = [(lines.number, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        return _spoilt(path, f"{path}, line {lines.number}: {error}")
    if not rows:
        return _spoilt(path, f"{path} is empty; it needs a header row and rows of numbers")
    (header_number, header), *rows = rows
    # One column may have a name of several words.
    if len(header) == 1 and any(len(row[0].split()) > 1 for _, row in rows if row):
        return _spoilt(
            path,
            f"{path}, line {header_number}: the columns seem to be separated by spaces; separate "
            "them by commas, semicolons or tabs",
        )
    problems = [
        *_header_problems(path, header_number, header),
        *_row_problems(path, len(header), rows),
    ]
    complete = [(number, row) for number, row in rows if len(row) == len(header)]
    columns = {
        name: _column(path, name, [(number, row[at]) for number, row in complete])
        for at, name in enumerate(header)
        if name
    }
    return Table(path, columns, tuple(problems))


class _Lines:
    """The lines that count, and the number in the file of the last one given out."""

    def __init__(self, text: str):
        self._text = text
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(io.StringIO(self._text), start=1):
            self.number = number
            if line.strip() and not line.lstrip().startswith("#"):
                yield line


def _spoilt(path: Path, problem: str) -> Table:
    return Table(path, {}, (problem,))


def _header_problems(path: Path, number: int, header: list[str]) -> list[str]:
    if all(_is_number(name) for name in header):
        return [
            f"{path}, line {number}: the first row holds only numbers ({first_few(header)}); "
            "put a header row above it that names the columns"
        ]
    doubled = [name for name, count in Counter(header).items() if name and count > 1]
    return [
        f"{path}, line {number}: the column {name!r} is there more than once; rename one"
        for name in doubled
    ]


def _row_problems(path: Path, width: int, rows: list[tuple[int, list[str]]]) -> list[str]:
    if not rows:
        return [f"{path} has a header row and no data below it; add rows of numbers"]
    ragged = [f"line {number} has {len(row)}" for number, row in rows if len(row) != width]
    if not ragged:
        return []
    return [
        f"{path}: the header names {width} columns, but {first_few(ragged)}; "
        "give every row one value for each column"
    ]


def _column(path: Path, name: str, cells: list[tuple[int, str]]) -> Value | Unusable:
    wrong = [(number, cell) for number, cell in cells if not _is_number(cell)]
    if not wrong:
        return as_value(_to_array([cell for _, cell in cells]))
    texts = sorted({cell for _, cell in wrong if cell})
    commas = texts and all(_DECIMAL_COMMA.fullmatch(text) for text in texts)
    if commas and not all(_THOUSANDS.fullmatch(text) for text in texts):
        return Unusable(
            f"the column {name!r} of {path} has decimal commas, such as {texts[0]!r}; write points"
        )
    if texts and len(wrong) == len(cells):
        return text_column(f"the column {name!r} of {path}", texts)
    places = [f"line {number} ({repr(cell) if cell else 'empty'})" for number, cell in wrong]
    return Unusable(
        f"the column {name!r} of {path} has values that are not numbers: {first_few(places)}; "
        "mend them or take those rows out"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_000 as a number; nobody else does


def _to_array(cells: list[str]) -> np.ndarray:
    if all(_INTEGER.fullmatch(cell) for cell in cells):
        whole = [int(cell) for cell in cells]
        if all(abs(value) < 2**63 for value in whole):
            return np.array(whole, dtype=np.int64)
    return np.array([float(cell) for cell in cells], dtype=np.float64)
