"""Numbers keep the digits that their uncertainty supports."""

import math

import numpy as np
import pytest

from taut.report.numbers import (
    exponent_of,
    format_count,
    format_short,
    format_to_uncertainty,
    format_value,
    format_with_error,
)


@pytest.mark.parametrize(
    ("value", "sd", "text"),
    [
        (1.234567, 0.0456, "1.235"),
        (1.234567, 0.0996, "1.23"),  # an sd that rounds up to the next power of ten
        (56789.0, 1234.0, "56789"),
        (2456789.12345, 0.005, "2456789.1234"),
        (3.0123e12, 9.9e11, "3.01e12"),
        (3.04e-5, 4e-6, "3.04e-5"),
        (1e-12, 1e-9, "0"),
        (-0.0001, 0.5, "0.00"),
        (0.1, 0.0, "0.1"),
        (12.5, math.nan, "12.5"),
        (math.nan, 1.0, "nan"),
        (-math.inf, 1e9, "-inf"),
    ],
)
def test_values_show_two_digits_of_their_sd(value, sd, text):
    assert format_to_uncertainty([value], sd) == [text]


def test_no_digit_that_matters_is_lost():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        sd = 10.0 ** rng.uniform(-12, 12)
        value = sd * rng.normal() * 10.0 ** rng.uniform(-2, 5)
        (text,) = format_to_uncertainty([value], sd)
        last_place = 10.0 ** (exponent_of(sd) - 1)
        assert abs(float(text) - value) <= 0.5 * last_place * (1 + 1e-9)
        assert len(text) <= 17


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0312, "0.031"), (0.0996, "0.10"), (43.21, "43"), (0.0, "0"), (1e-9, "1.0e-9")],
)
def test_an_error_shows_two_digits(value, text):
    assert format_short(value) == text


def test_other_numbers():
    assert format_value(123456.0) == "123456"
    assert format_value(1.5e-9) == "1.5e-9"
    assert format_count(1234.4) == "1234"
    assert format_count(2.34e6) == "2.3e6"
    assert format_with_error(-123.4567, 0.0312) == "-123.457 ± 0.031"
    assert format_with_error(-123.4567, math.nan) == "-123.457 (error unknown)"
