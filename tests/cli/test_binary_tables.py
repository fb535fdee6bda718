"""Parquet and NetCDF: the same tables as from CSV, and what is wrong with them in a sentence."""

import sys
from decimal import Decimal

import numpy as np
import pytest
from extras import needs

from taut.cli import main
from taut.cli.read_table import read_table
from taut.cli.table import Unusable


@pytest.fixture
def from_parquet(tmp_path):
    needs("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write_and_read(**columns):
        path = tmp_path / "data.parquet"
        pq.write_table(pa.table(columns), path)
        return read_table(path)

    return write_and_read


@pytest.fixture
def from_netcdf(tmp_path):
    needs("xarray", "h5netcdf")
    import xarray as xr

    def write_and_read(engine="h5netcdf", **variables):
        path = tmp_path / "data.nc"
        arrays = {name: np.asarray(value) for name, value in variables.items()}
        dataset = xr.Dataset(
            {n: ([f"{n}_{i}" for i in range(a.ndim)], a) for n, a in arrays.items()}
        )
        dataset.to_netcdf(path, engine=engine)
        return read_table(path)

    return write_and_read


def reason(table, name):
    assert isinstance(table.columns[name], Unusable)
    return table.columns[name].reason.replace(str(table.path), "data")


@pytest.mark.parametrize("kind", ["parquet", "h5netcdf", "scipy"])
def test_numbers_are_read_as_from_csv(kind, tmp_path, request):
    (tmp_path / "data.csv").write_text("n,x,wide\n1,0.5,1\n2,1.5,2147483648\n")
    arrays = {"n": np.array([1, 2], np.int16), "x": np.array([0.5, 1.5])}
    wide = np.array([1, 2**31], np.int64)
    if kind == "scipy":  # NetCDF 3 has no 64-bit integers
        table, names = request.getfixturevalue("from_netcdf")(kind, **arrays), ("n", "x")
    else:
        make = request.getfixturevalue("from_parquet" if kind == "parquet" else "from_netcdf")
        table, names = make(**arrays, wide=wide), ("n", "x", "wide")
    expected = read_table(tmp_path / "data.csv")
    assert table.problems == ()
    assert set(table.columns) == set(names)
    for name in names:
        np.testing.assert_array_equal(table.columns[name], expected.columns[name])
        assert table.columns[name].dtype == expected.columns[name].dtype


def test_parquet_columns_of_other_kinds(from_parquet):
    import pyarrow as pa

    codes = pa.array([3, 5, 3]).dictionary_encode()
    table = from_parquet(
        rows=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        flag=[True, False, True],
        price=pa.array([Decimal("1.25"), Decimal("2.50"), Decimal("0.75")]),
        codes=codes,
    )
    assert table.columns["rows"].tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert table.columns["flag"].tolist() == [True, False, True]
    assert table.columns["price"].tolist() == [1.25, 2.5, 0.75]
    assert table.columns["codes"].tolist() == [3, 5, 3]


def test_parquet_columns_a_model_cannot_use(from_parquet):
    import pyarrow as pa

    table = from_parquet(
        gaps=[1.0, None, None],
        text=["b", "a", "b"],
        category=pa.array(["u", "v", "u"]).dictionary_encode(),
        day=pa.array([1, 2, 3], pa.date32()),
        ragged=[[1], [2, 3], [4]],
        record=[{"a": 1}, {"a": 2}, {"a": 3}],
    )
    assert "the column 'gaps' of data has no value in 2 of 3 rows (rows 2, 3)" in reason(
        table, "gaps"
    )
    assert "whole numbers 0..1 (a = 0, b = 1)" in reason(table, "text")
    assert "whole numbers 0..1 (u = 0, v = 1)" in reason(table, "category")
    assert "has the type date32" in reason(table, "day")
    assert "lists of unequal length" in reason(table, "ragged")
    assert "has the type struct" in reason(table, "record")


def test_a_parquet_file_without_rows_says_so(from_parquet):
    (problem,) = from_parquet(x=np.zeros(0)).problems
    assert "has no rows" in problem


def test_netcdf_variables_keep_their_shapes(from_netcdf):
    table = from_netcdf(matrix=np.arange(6.0).reshape(2, 3), size=np.array(8), y=np.ones(4))
    assert table.columns["matrix"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert table.columns["size"] == 8
    assert type(table.columns["size"]) is int


def test_netcdf_variables_a_model_cannot_use(from_netcdf):
    days = np.array(["2020-01-01", "2020-01-03"], "datetime64[ns]")
    table = from_netcdf(t=days, s=np.array(["b", "a"]), none=np.zeros(0))
    assert "the variable 't' of data holds times" in reason(table, "t")
    assert "whole numbers 0..1 (a = 0, b = 1)" in reason(table, "s")
    assert "is empty" in reason(table, "none")


def test_a_netcdf_file_with_only_groups(tmp_path):
    needs("xarray", "h5netcdf")
    import xarray as xr

    path = tmp_path / "tree.nc"
    data = {
        "/observed_data": xr.Dataset({"y": ("row", [1.0, 2.0])}),
        "/constant_data": xr.Dataset({"x": ("row", [0, 1])}),
        "/posterior": xr.Dataset({"mu": ("draw", np.zeros(5))}),
    }
    xr.DataTree.from_dict(data).to_netcdf(path, engine="h5netcdf")
    table = read_table(path)
    assert table.columns["y"].tolist() == [1.0, 2.0]
    assert table.columns["x"].tolist() == [0, 1]
    assert "mu" not in table.columns
    xr.DataTree.from_dict({"/other": data["/posterior"]}).to_netcdf(path, engine="h5netcdf")
    (problem,) = read_table(path).problems
    assert "it has only groups, /other" in problem


@pytest.mark.parametrize(
    ("ending", "magic"), [("parquet", b"PAR1"), ("nc", b"\x89HDF\r\n\x1a\n"), ("nc", b"CDF\x01")]
)
def test_damaged_files_say_so(ending, magic, tmp_path):
    needs("pyarrow", "xarray", "h5netcdf")
    path = tmp_path / f"data.{ending}"
    for content in (b"", magic, magic + b"x" * 99, b"x,y\n1,2\n"):
        path.write_bytes(content)
        (problem,) = read_table(path).problems
        assert "file" in problem
        assert "\n" not in problem


@pytest.mark.parametrize(
    ("ending", "missing", "library"),
    [("parquet", "pyarrow", "pyarrow"), ("nc", "h5netcdf", "xarray and h5netcdf")],
)
def test_a_missing_library_is_one_line(ending, missing, library, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    path = tmp_path / f"data.{ending}"
    path.write_bytes(b"")
    assert main(["fit", "model.py", "--data", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"taut fit: this needs {library}; install it with: pip install 'taut[data]'\n"
    )
