from pathlib import Path

import numpy as np
import numpyro
import pytest

from taut._core.errors import InputError
from taut.cli.arguments import match_arguments
from taut.cli.settings import FromColumn
from taut.cli.table import Table, Unusable


def table(*names, problems=(), **columns):
    arrays = {name: np.arange(3.0) + at for at, name in enumerate(names)}
    return Table(Path("data.csv"), arrays | columns, problems)


def line(x, sigma_y, y=None):
    raise AssertionError("matching must not run the model")


def problems_of(model, data, **settings):
    with pytest.raises(InputError) as caught:
        match_arguments(model, data, settings)
    return caught.value.problems


def test_columns_go_to_the_arguments_of_their_names():
    data = table("id", "x", "y", "sigma_y")
    matched = match_arguments(line, data, {})
    assert set(matched.named) == {"x", "y", "sigma_y"}
    for name, value in matched.named.items():
        assert value is data.columns[name]
    assert matched.settings == {"x": "column:x", "sigma_y": "column:sigma_y", "y": "column:y"}
    assert matched.remarks == ()


def test_a_near_name_is_guessed_and_said():
    data = table("X", "Sigma Y", "y")
    matched = match_arguments(line, data, {})
    assert matched.named["sigma_y"] is data.columns["Sigma Y"]
    assert matched.remarks == (
        "guessed that x is the column 'X'",
        "guessed that sigma_y is the column 'Sigma Y'",
    )


def test_an_exact_name_wins_over_a_near_one():
    data = table("X", "x", "sigma_y", "y")
    matched = match_arguments(line, data, {})
    assert matched.named["x"] is data.columns["x"]
    assert matched.remarks == ()


def test_a_column_used_by_name_is_not_guessed_for_another():
    def model(x, X):
        pass

    (problem,) = problems_of(model, table("x"))
    assert problem.startswith("the model's argument 'X' has no column in data.csv")


def test_two_near_names_are_an_error_even_with_a_default():
    (problem,) = problems_of(line, table("x", "sigma_y", "Y", "y_"))
    assert problem == (
        "the model's argument 'y' could be any of the columns 'Y', 'y_' of data.csv; choose with "
        "--set y='column:Y'"
    )


def test_a_missing_column_lists_those_there_are():
    (problem,) = problems_of(line, table("x", "sigma", "y"))
    assert problem == (
        "the model's argument 'sigma_y' has no column in data.csv (did you mean 'sigma'?); the "
        "columns are x, sigma, y; choose one with --set sigma_y=column:COL or give a number with "
        "--set sigma_y=NUMBER"
    )


def test_settings_go_first():
    data = table("x", "y", "sigma_y", "flux")
    settings = {"y": FromColumn("flux"), "sigma_y": 0.5}
    matched = match_arguments(line, data, settings)
    assert matched.named["y"] is data.columns["flux"]
    assert matched.named["sigma_y"] == 0.5
    assert matched.settings["y"] == "column:flux"
    assert matched.settings["sigma_y"] == "0.5"


def test_a_set_column_may_be_used_again_by_name_but_not_by_guess():
    data = table("x", "sigma_y")
    matched = match_arguments(line, data, {"y": FromColumn("x")})
    assert matched.named["y"] is matched.named["x"] is data.columns["x"]


def test_settings_that_fit_nothing():
    data = table("x", "y", "sigma_y")
    assert problems_of(line, data, sigma=1.0, y=FromColumn("z")) == (
        "--set sigma: the model takes no argument 'sigma' (did you mean 'sigma_y'?); its arguments "
        "are x, sigma_y, y",
        "the model's argument 'y': data.csv has no column 'z'; its columns are x, y, sigma_y",
    )


def test_a_model_that_takes_any_name_takes_any_setting_but_no_stray_column():
    def model(x, *more, **options):
        pass

    matched = match_arguments(model, table("x", "y", "more", "options"), {"width": 2})
    assert set(matched.named) == {"x", "width"}


def test_an_argument_left_at_none_is_said():
    matched = match_arguments(line, table("x", "sigma_y", "ys"), {})
    assert "y" not in matched.named
    (remark,) = matched.remarks
    assert remark == "no column for y, so it stays None (did you mean 'ys'?); columns not used: ys"


def test_other_defaults_are_kept_in_silence_and_overridden_by_their_column():
    def model(x, width=2.0):
        pass

    kept = match_arguments(model, table("x"), {})
    assert set(kept.named) == {"x"}
    assert kept.remarks == ()
    given = match_arguments(model, table("x", "width"), {})
    assert set(given.named) == {"x", "width"}


def test_arguments_are_seen_through_decorators():
    @numpyro.handlers.reparam(config={})
    def model(x, y=None):
        pass

    assert set(match_arguments(model, table("x", "y"), {}).named) == {"x", "y"}


def test_positional_only_arguments_are_given_in_order():
    def model(y, x, /, n):
        pass

    data = table("x", "y", "n")
    matched = match_arguments(model, data, {})
    assert matched.positional[0] is data.columns["y"]
    assert matched.positional[1] is data.columns["x"]
    assert set(matched.named) == {"n"}


def test_an_unusable_column_hurts_only_if_asked_for():
    data = table("x", "y", "sigma_y", sex=Unusable("the column 'sex' holds text"))
    assert set(match_arguments(line, data, {}).named) == {"x", "y", "sigma_y"}

    def model(x, sex):
        pass

    assert problems_of(model, data) == ("the model's argument 'sex': the column 'sex' holds text",)


def test_all_problems_come_in_one_error():
    data = table("x", problems=("ragged",), y=Unusable("text"))
    found = problems_of(line, data, wrong=1)
    assert found[0] == "ragged"
    assert "takes no argument 'wrong'" in found[1]
    assert "'sigma_y' has no column" in found[2]
    assert found[3] == "the model's argument 'y': text"
    assert len(found) == 4


def test_values_that_are_not_finite_are_told_with_other_problems():
    data = table("x", sigma_y=Unusable("text"), y=np.array([0.0, np.nan, np.inf]))
    unusable, suspected = problems_of(line, data)
    assert unusable == "the model's argument 'sigma_y': text"
    assert suspected.startswith("argument 'y' is NaN or infinite in 2 of 3 places, at row 1, row 2")
    # A model that can be run is run to see whether they matter.
    assert set(match_arguments(line, data, {"sigma_y": 1.0}).named) == {"x", "y", "sigma_y"}


def test_columns_of_like_names_are_told_with_what_is_wrong_in_them():
    data = table("x", sigma=Unusable("the column 'sigma' holds text"), ys=Unusable("ys is empty"))
    missing, left = problems_of(line, data)
    assert missing.startswith("the model's argument 'sigma_y' has no column in data.csv")
    assert missing.endswith("; the column 'sigma' holds text")
    assert left.startswith("no column for y, so it stays None (did you mean 'ys'?)")
    assert left.endswith("; ys is empty")


def test_a_file_without_columns_reports_only_its_own_problem():
    data = Table(Path("data.csv"), {}, ("data.csv is empty",))
    assert problems_of(line, data) == ("data.csv is empty",)
