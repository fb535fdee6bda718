"""Reads a table from a Parquet file, as pandas, Polars and databases write them."""

from pathlib import Path
from typing import Any

import numpy as np

from taut._core.errors import MissingExtraError, first_few
from taut.cli.table import Table, Unusable, Value, as_value, text_column


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; a column of lists of one length becomes a matrix.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("pyarrow", "data") from None
    with path.open("rb") as file:
        try:
            # One thread: the threads of a pool would stay for as long as the fit runs.
            content = pq.read_table(file, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            return Table(path, {}, (f"{path} is not a whole Parquet file ({reason})",))
    problems = () if content.num_rows else (f"{path} has no rows; it needs rows of numbers",)
    columns = {
        name: _value(f"the column {name!r} of {path}", content.column(name).combine_chunks())
        for name in dict.fromkeys(content.column_names)
        if content.column_names.count(name) == 1
    }
    doubled = [name for name in {*content.column_names} if name not in columns]
    problems += tuple(f"{path}: the column {n!r} is there more than once" for n in sorted(doubled))
    return Table(path, columns, problems)


def _value(place: str, column: Any) -> Value | Unusable:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if column.null_count:
        rows = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)) + 1
        return Unusable(
            f"{place} has no value in {len(rows)} of {len(column)} rows ({_rows(rows)}); fill them "
            "or take those rows out"
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return text_column(place, sorted(set(column.to_pylist())))
    if pa.types.is_decimal(kind):
        return as_value(column.cast(pa.float64()).to_numpy())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return as_value(column.to_numpy(zero_copy_only=False))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        try:
            array = np.array(column.to_pylist())
        except ValueError:
            return Unusable(f"{place} has lists of unequal length; make them equally long")
        if array.dtype.kind in "biuf":
            return as_value(array)
    return Unusable(f"{place} has the type {kind}; save it as numbers")


def _rows(rows: np.ndarray) -> str:
    return f"row{'s' * (len(rows) > 1)} {first_few(rows.tolist())}"
