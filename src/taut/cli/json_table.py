"""Reads a table from a JSON object: names with numbers, lists of numbers, or nested lists."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from taut.cli.table import Table, Unusable, Value, as_value, text_column


def read_json(path: Path) -> Table:
    """Read a JSON file that holds one object, such as `{"x": [1, 2], "y": [3.5, 4]}`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        problem = f"{path}, line {error.lineno}, column {error.colno}: not JSON ({error.msg})"
        return Table(path, {}, (problem,))
    except UnicodeDecodeError as error:
        return Table(path, {}, (f"{path} is not UTF-8 text (byte {error.start})",))
    if not isinstance(content, dict) or not content:
        problem = f'{path} must hold one object of names and values, like {{"x": [1.5, 2.5]}}'
        return Table(path, {}, (problem,))
    return Table(path, {name: _value(path, name, value) for name, value in content.items()})


def _value(path: Path, name: str, value: Any) -> Value | Unusable:
    place = f"the entry {name!r} of {path}"
    try:
        array = np.array(value)
    except ValueError:
        return Unusable(f"{place} has lists of unequal length; make them equally long")
    if array.size == 0:
        return Unusable(f"{place} is empty; give it values or leave it out")
    if array.dtype.kind == "U":
        return text_column(place, sorted({str(text) for text in array.flat}))
    if array.dtype.kind not in "biuf":
        return Unusable(f"{place} is not made of numbers only (null is none); give it numbers")
    return as_value(array)
