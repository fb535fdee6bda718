import pytest

from taut._core.errors import InputError
from taut.cli.settings import FromColumn, format_setting, parse_settings


def test_numbers_words_and_columns_are_read():
    assert parse_settings(
        ["n=8", "s = 0.5", "t=1e-3", "c=true", "m=none", "y=column:flux raw"]
    ) == {
        "n": 8,
        "s": 0.5,
        "t": 1e-3,
        "c": True,
        "m": None,
        "y": FromColumn("flux raw"),
    }
    assert type(parse_settings(["n=8"])["n"]) is int


@pytest.mark.parametrize("text", ["n=8", "s=0.5", "c=true", "m=none", "y=column:flux"])
def test_a_setting_is_written_as_it_is_read(text):
    name, _, value = text.partition("=")
    assert format_setting(parse_settings([text])[name]) == value


def test_every_bad_setting_is_named_at_once():
    with pytest.raises(InputError) as caught:
        parse_settings(["y", "=3", "x=", "y=flux", "n=1", "n=2"])
    assert caught.value.problems == (
        "--set y: write it as name=number or name=column:COL",
        "--set =3: write it as name=number or name=column:COL",
        "--set x=: write it as name=number or name=column:COL",
        "--set y=flux: 'flux' is not a number; for a column write --set y=column:flux",
        "--set n=2: 'n' is set twice; keep one of the two",
    )
