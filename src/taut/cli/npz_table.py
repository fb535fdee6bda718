"""Reads a table from NumPy's archive of named arrays (NPZ)."""

import zipfile
from pathlib import Path

import numpy as np

from taut.cli.table import Table, Unusable, Value, as_value, text_column


def read_npz(path: Path) -> Table:
    """Read an NPZ file. Arrays of Python objects are not read, since that could run any code."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            columns = {name: _value(path, name, archive) for name in archive.files}
    except (zipfile.BadZipFile, ValueError, EOFError, AttributeError) as error:
        problem = f"{path} is not a whole NPZ file ({error}); write it with numpy.savez"
        return Table(path, {}, (problem,))
    problems = () if columns else (f"{path} holds no arrays; write them with numpy.savez",)
    return Table(path, columns, problems)


def _value(path: Path, name: str, archive: np.lib.npyio.NpzFile) -> Value | Unusable:
    place = f"the array {name!r} of {path}"
    try:
        array = archive[name]
    except ValueError:
        return Unusable(f"{place} holds Python objects; save it as an array of numbers")
    if array.dtype.kind == "U":
        return text_column(place, sorted({str(value) for value in array.flat}))
    if array.dtype.kind not in "biuf":
        return Unusable(f"{place} has the type {array.dtype}; save it as an array of numbers")
    return as_value(array)
