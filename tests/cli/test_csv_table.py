from pathlib import Path

import numpy as np
import pytest

from taut.cli.csv_table import read_csv
from taut.cli.table import Unusable

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, **how):
        path = tmp_path / "data.csv"
        path.write_text(text, **{"encoding": "utf-8"} | how)
        return read_csv(path)

    return write_and_read


def the_problem(table):
    (problem,) = table.problems
    return problem.replace(str(table.path), "data.csv")


def test_hogg_is_table_1_of_the_paper():
    columns = read_csv(EXAMPLES / "hogg" / "data.csv").columns
    assert list(columns) == ["id", "x", "y", "sigma_y"]
    assert columns["id"].tolist() == list(range(1, 21))
    assert (columns["x"][0], columns["y"][0], columns["sigma_y"][0]) == (201, 592, 61)
    assert (columns["x"][-1], columns["y"][-1], columns["sigma_y"][-1]) == (146, 344, 22)


def test_orthodont_has_the_published_means():
    columns = read_csv(EXAMPLES / "orthodont" / "data.csv").columns
    distance = columns["distance"].reshape(27, 4)
    assert columns["subject"].reshape(27, 4).T.tolist() == [list(range(27))] * 4
    assert columns["age"].reshape(27, 4).tolist() == [[8, 10, 12, 14]] * 27
    # Printed with two decimals in the paper, so half a unit of the last one is the tolerance.
    girls, boys = distance[:11].mean(axis=0), distance[11:].mean(axis=0)
    np.testing.assert_allclose(girls, [21.18, 22.23, 23.09, 24.09], atol=0.005)
    np.testing.assert_allclose(boys, [22.875, 23.81, 25.72, 27.47], atol=0.005)


def test_whole_numbers_are_integers_and_others_are_floats(read):
    columns = read("i, f ,g\n-1, 1,2.5\n+2,1e3,.5\n").columns
    assert columns["i"].dtype == np.int64
    assert columns["i"].tolist() == [-1, 2]
    assert columns["f"].dtype == columns["g"].dtype == np.float64
    assert columns["f"].tolist() == [1.0, 1000.0]


@pytest.mark.parametrize("large", [2**31, -(2**31) - 1, 2**63, 10**30])
def test_integers_too_large_for_32_bits_become_floats(read, large):
    column = read(f"n\n1\n{large}\n").columns["n"]
    assert column.dtype == np.float64
    assert column.tolist() == [1.0, float(large)]


def test_comments_blank_lines_byte_order_mark_and_windows_line_ends_are_skipped(read):
    text = "\ufeff# source\r\n\r\nx,y\r\n  # more\r\n1,2\r\n\r\n3,4\r\n"
    columns = read(text, newline="").columns
    assert columns["x"].tolist() == [1, 3]
    assert columns["y"].tolist() == [2, 4]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_read_from_the_header(read, separator):
    columns = read(f"x{separator}y\n1{separator}2\n").columns
    assert columns["y"].tolist() == [2]


def test_unnamed_columns_are_left_out(read):
    assert list(read(",x\n0,5\n1,6\n").columns) == ["x"]


def test_quoted_cells_may_hold_the_separator(read):
    columns = read('"flux, raw",x\n"1",2\n').columns
    assert columns["flux, raw"].tolist() == [1]


def test_values_that_are_not_numbers_are_named_with_their_lines(read):
    column = read("# note\nx,y\n1,2\n3,n/a\n4,\n5,1_000\n").columns["y"]
    assert isinstance(column, Unusable)
    assert column.reason.endswith(
        "has values that are not numbers: line 4 ('n/a'), line 5 (empty), line 6 ('1_000'); "
        "mend them or take those rows out"
    )
    assert "the column 'y' of" in column.reason


def test_many_bad_values_are_counted(read):
    column = read("x\n1\n" + "bad\n" * 9).columns["x"]
    assert "line 3 ('bad')" in column.reason
    assert "line 7 ('bad') and 4 more" in column.reason


def test_a_text_column_comes_with_a_coding(read):
    column = read("sex\nmale\nfemale\nmale\n").columns["sex"]
    assert column.reason.endswith(
        "holds text and a model needs numbers; code its values as whole numbers 0..1 "
        "(female = 0, male = 1)"
    )


def test_a_long_coding_is_cut(read):
    column = read("name\nd\nc\nb\na\n").columns["name"]
    assert column.reason.endswith("0..3 (a = 0, b = 1, c = 2, ..., d = 3)")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "data.csv is empty; it needs a header row and rows of numbers"),
        ("# only a note\n", "data.csv is empty; it needs a header row and rows of numbers"),
        ("x,y\n", "data.csv has a header row and no data below it; add rows of numbers"),
        (
            "1,2\n3,4\n",
            "data.csv, line 1: the first row holds only numbers (1, 2); put a header row above it "
            "that names the columns",
        ),
        (
            "x,y,x\n1,2,3\n",
            "data.csv, line 1: the column 'x' is there more than once; rename one",
        ),
        (
            "x,y\n1,2\n# note\n3\n4,5,6\n",
            "data.csv: the header names 2 columns, but line 4 has 1, line 5 has 3; give every row "
            "one value for each column",
        ),
    ],
)
def test_problems_of_the_whole_file(read, text, problem):
    assert the_problem(read(text)) == problem


def test_problems_of_the_whole_file_come_together(read):
    assert len(read("x,x\n1,2\n3\n").problems) == 2


def test_a_file_that_is_not_text_says_so(read):
    table = read("x,größe\n1,2\n", encoding="latin-1")
    assert the_problem(table) == (
        "data.csv is not UTF-8 text (byte 4); save it as CSV in UTF-8 encoding"
    )


def test_columns_separated_by_spaces_are_the_only_problem(read):
    table = read("x y  sigma\n1 2 3\n")
    assert the_problem(table).startswith("data.csv, line 1: the columns seem to be separated by")
    assert not table.columns


def test_decimal_commas(read):
    columns = read("x;y\n1,5;1\n-2,5e3;2\n").columns
    assert "has decimal commas, such as '-2,5e3'; write points" in columns["x"].reason
    assert columns["y"].tolist() == [1, 2]


def test_one_column_may_have_a_name_of_two_words(read):
    assert read("body mass\n1.5\n2.5\n").columns["body mass"].tolist() == [1.5, 2.5]


def test_commas_that_may_stand_for_thousands_are_no_decimal_commas(read):
    assert "decimal" not in read("x;y\n1,234;1\n-2,345;2\n").columns["x"].reason
