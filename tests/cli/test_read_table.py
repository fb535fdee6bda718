import json

import numpy as np
import pytest

from taut._core.errors import InputError
from taut.cli.read_table import read_table
from taut.cli.table import Unusable


@pytest.fixture
def from_json(tmp_path):
    def write_and_read(content):
        path = tmp_path / "data.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_table(path)

    return write_and_read


@pytest.fixture
def from_npz(tmp_path):
    def write_and_read(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return read_table(path)

    return write_and_read


def reason(table, name):
    assert isinstance(table.columns[name], Unusable)
    return table.columns[name].reason.replace(str(table.path), "data")


def test_every_ending_is_read_alike(tmp_path, from_json, from_npz):
    (tmp_path / "data.CSV").write_text("n,x\n1,0.5\n2,1.5\n")
    (tmp_path / "data.tsv").write_text("n\tx\n1\t0.5\n2\t1.5\n")
    tables = [
        read_table(tmp_path / "data.CSV"),
        read_table(tmp_path / "data.tsv"),
        from_json({"n": [1, 2], "x": [0.5, 1.5]}),
        from_npz(n=np.array([1, 2], dtype=np.int16), x=np.array([0.5, 1.5])),
    ]
    for table in tables:
        assert table.problems == ()
        assert table.columns["n"].dtype == np.int64
        assert table.columns["n"].tolist() == [1, 2]
        assert table.columns["x"].tolist() == [0.5, 1.5]


def test_single_values_become_plain_numbers(from_json, from_npz):
    for table in (from_json({"n": 8, "s": 0.5}), from_npz(n=np.array(8), s=np.array(0.5))):
        assert type(table.columns["n"]) is int
        assert type(table.columns["s"]) is float
        assert table.columns["n"] == 8


def test_matrices_keep_their_shape(from_json, from_npz):
    matrix = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    for table in (from_json({"X": matrix}), from_npz(X=np.array(matrix))):
        assert table.columns["X"].tolist() == matrix


def test_large_integers_become_floats_in_every_format(from_json, from_npz):
    for table in (from_json({"n": [1, 2**31]}), from_npz(n=np.array([1, 2**31]))):
        assert table.columns["n"].dtype == np.float64


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([1.0, None], "the entry 'x' of data is not made of numbers only (null is none)"),
        (None, "the entry 'x' of data is not made of numbers only (null is none)"),
        ({"a": 1}, "the entry 'x' of data is not made of numbers only (null is none)"),
        ([[1], [2, 3]], "the entry 'x' of data has lists of unequal length"),
        ([], "the entry 'x' of data is empty"),
        (["a", "b"], "whole numbers 0..1 (a = 0, b = 1)"),
    ],
)
def test_json_entries_a_model_cannot_use(from_json, value, sentence):
    assert sentence in reason(from_json({"x": value}), "x")


def test_npz_arrays_a_model_cannot_use(from_npz):
    table = from_npz(
        o=np.array([1, None], dtype=object),
        t=np.array(["b", "a"]),
        d=np.array(["2020-01-01"], dtype="datetime64[D]"),
    )
    assert "the array 'o' of data holds Python objects" in reason(table, "o")
    assert "whole numbers 0..1 (a = 0, b = 1)" in reason(table, "t")
    assert "the array 'd' of data has the type datetime64[D]" in reason(table, "d")


@pytest.mark.parametrize("content", ["[1, 2]", "{}", "3"])
def test_json_has_to_be_an_object(from_json, content):
    (problem,) = from_json(content).problems
    assert "must hold one object of names and values" in problem


def test_json_syntax_errors_are_placed(from_json):
    (problem,) = from_json('{"x": [1,\n 2,]}').problems
    assert "data.json, line 2, column " in problem


def test_a_damaged_npz_says_so(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(5.0))
    whole = path.read_bytes()
    for damaged in (whole[:100], b"", b"x,y\n1,2\n"):
        path.write_bytes(damaged)
        (problem,) = read_table(path).problems
        assert "is not a whole NPZ file" in problem


def test_a_flipped_bit_in_an_npz_is_noticed(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(50.0))
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    (problem,) = read_table(path).problems
    assert "is not a whole NPZ file" in problem


def test_an_empty_npz_says_so(from_npz):
    (problem,) = from_npz().problems
    assert "holds no arrays" in problem


def test_a_missing_file_and_an_unknown_ending_are_errors(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.csv cannot be read: No such file"):
        read_table(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match=r"ends in none of \.csv, \.tsv, \.txt, \.npz, \.json"):
        read_table(tmp_path / "data.xlsx")
    (tmp_path / "folder.csv").mkdir()
    for folder in (tmp_path, tmp_path / "folder.csv"):
        with pytest.raises(InputError, match="is a folder; name a file in it"):
            read_table(folder)
    with pytest.raises(InputError, match="the name of the data file is empty"):
        read_table("")
