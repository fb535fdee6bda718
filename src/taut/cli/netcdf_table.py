"""Reads a table from a NetCDF file: its variables, of any number of dimensions.

In a file with groups and nothing above them, as ArviZ writes, the data are in "constant_data" and
"observed_data".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from taut._core.errors import MissingExtraError, first_few
from taut.cli.table import Table, Unusable, Value, as_value, text_column

_CLASSIC, _HDF5 = b"CDF", b"\x89HDF\r\n\x1a\n"
_DATA_GROUPS = ("constant_data", "observed_data")


def read_netcdf(path: Path) -> Table:
    """Read a NetCDF file, classic or version 4; coordinates are columns as variables are.

    Raises:
        MissingExtraError: xarray or h5netcdf is not installed.
    """
    try:
        import h5netcdf  # noqa: F401 - xarray reads version 4 with it
        import xarray as xr
    except ImportError:
        raise MissingExtraError("xarray and h5netcdf", "data") from None
    with path.open("rb") as file:
        magic = file.read(len(_HDF5))
    if not magic.startswith((_CLASSIC, _HDF5)):
        return Table(path, {}, (f"{path} is not a NetCDF file",))
    try:
        if magic.startswith(_CLASSIC):
            with xr.open_dataset(path, engine="scipy") as dataset:
                return _table(path, {"/": dataset.load()})
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            return _table(path, {node.path: node.to_dataset().load() for node in tree.subtree})
    except Exception as error:  # readers of damaged files fail in any way, IndexError included
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Table(path, {}, (f"{path} is not a whole NetCDF file ({reason})",))


def _table(path: Path, datasets: Mapping[str, Any]) -> Table:
    chosen = {"/": datasets["/"]}
    if not datasets["/"].variables:
        chosen = {name: datasets[f"/{name}"] for name in _DATA_GROUPS if f"/{name}" in datasets}
    columns = {
        str(name): _value(f"the variable {name!r} of {path}", np.asarray(variable.values))
        for dataset in chosen.values()
        for name, variable in dataset.variables.items()
    }
    if columns:
        return Table(path, columns)
    groups = [name for name in datasets if name != "/"]
    held = f"it has only groups, {first_few(groups)}" if groups else "it holds no variables"
    return Table(path, {}, (f"{path}: {held}; put the data in variables at its top",))


def _value(place: str, array: np.ndarray) -> Value | Unusable:
    if array.size == 0:
        return Unusable(f"{place} is empty; give it values or leave it out")
    if array.dtype.kind in "mM":
        return Unusable(f"{place} holds times; save them as numbers, such as days since a date")
    if array.dtype.kind in "biuf":
        return as_value(array)
    texts = {str(item) for item in array.flat}
    if array.dtype.kind in "UST" or all(isinstance(item, str) for item in array.flat):
        return text_column(place, sorted(texts))
    return Unusable(f"{place} has the type {array.dtype}; save it as numbers")
