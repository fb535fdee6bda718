"""Opens a file of data, by the ending of its name."""

from pathlib import Path

from taut._core.errors import InputError
from taut.cli.csv_table import read_csv
from taut.cli.json_table import read_json
from taut.cli.netcdf_table import read_netcdf
from taut.cli.npz_table import read_npz
from taut.cli.parquet_table import read_parquet
from taut.cli.table import Table

_READERS = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".npz": read_npz,
    ".json": read_json,
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".nc": read_netcdf,
    ".nc4": read_netcdf,
}


def read_table(path: str | Path) -> Table:
    """Read the named data of a file.

    Raises:
        InputError: If there is no such file, it cannot be opened, or its ending is unknown. What is
            wrong inside the file is said in the table.
        MissingExtraError: If the library that reads this kind of file is not installed.
    """
    if not str(path).strip():
        raise InputError("the name of the data file is empty")
    path = Path(path)
    if path.is_dir():
        raise InputError(f"the data file {path} is a folder; name a file in it")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"the data file {path} ends in none of {', '.join(_READERS)}; save it as one of them"
        )
    try:
        return reader(path)
    except OSError as error:
        raise InputError(f"the data file {path} cannot be read: {error.strerror}") from None
