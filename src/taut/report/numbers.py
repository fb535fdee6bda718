"""Numbers for people: as many digits as their uncertainty supports, and no more.

A value is written to the decimal place of the second significant digit of its standard deviation:
1.234567 with sd 0.0456 reads 1.235. Where that takes too many characters, scientific notation is
used with the same last place.
"""

import math

_SIGNIFICANT = 2
_LONGEST_PLAIN = 12  # a Julian date to a thousandth of a day still reads as plain digits
_LONGEST_ROUNDED = 7  # where the last digits mean nothing, plain digits only while they are few
_SMALLEST_PLAIN = 1e-4


def exponent_of(value: float) -> int:
    """Return the power of ten of the leading digit, after rounding to two significant digits."""
    return int(f"{value:.{_SIGNIFICANT - 1}e}".partition("e")[2])


def format_value(value: float) -> str:
    """Return a number alone, to six significant digits."""
    if not math.isfinite(value):
        return str(float(value))
    if value and not (_SMALLEST_PLAIN <= abs(value) < 1e7):
        return _scientific(value, 5, trim=True)
    return f"{value:.7g}" if abs(value) >= 1e6 else f"{value:.6g}"


def format_short(value: float) -> str:
    """Return a number to two significant digits, such as a standard error."""
    if not math.isfinite(value):
        return str(float(value))
    if value == 0:
        return "0"
    power = exponent_of(value)
    if -5 <= power < 6:
        return f"{value:.{max(0, _SIGNIFICANT - 1 - power)}f}"
    return _scientific(value, _SIGNIFICANT - 1)


def format_to_uncertainty(values: list[float], sd: float) -> list[str]:
    """Return several numbers on the scale of one uncertainty, all to the same last place.

    Args:
        values: such as a mean and quantiles; entries that are not finite are written as they are.
        sd: their uncertainty; where it is zero or not finite, six digits of each value are shown.
    """
    if not (math.isfinite(sd) and sd > 0):
        return [format_value(value) for value in values]
    place = exponent_of(sd) - (_SIGNIFICANT - 1)
    finite = [abs(value) for value in values if math.isfinite(value)]
    largest = max(finite, default=0.0)
    decimals = max(0, -place)
    whole = max(1, exponent_of(largest) + 1)
    fits = whole + decimals + 1 <= _LONGEST_PLAIN if place < 0 else whole <= _LONGEST_ROUNDED
    if fits and (largest >= _SMALLEST_PLAIN or place >= -6):
        return [_fixed(value, decimals) for value in values]
    return [_to_place(value, place) for value in values]


def format_with_error(value: float, error: float) -> str:
    """Return such as '-123.46 ± 0.03', the digits decided by the error."""
    if not math.isfinite(error):
        return f"{format_value(value)} (error unknown)"
    (text,) = format_to_uncertainty([value], error)
    return f"{text} ± {format_short(error)}"


def format_count(value: float) -> str:
    """Return a count such as an effective sample size: whole, or 1.2e6 when long."""
    if not math.isfinite(value):
        return str(float(value))
    return f"{value:.0f}" if value < 999_999.5 else _scientific(value, 1)


def format_seconds(seconds: float) -> str:
    """Return a duration to about two significant digits, without its unit."""
    if not math.isfinite(seconds) or seconds >= 10:
        return f"{seconds:.0f}"
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.2f}"


def _fixed(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return str(float(value))
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if not text.strip("-0.") else text  # no "-0.00"


def _to_place(value: float, place: int) -> str:
    """Write in scientific notation down to 10**place."""
    if not math.isfinite(value):
        return str(float(value))
    if abs(value) < 0.5 * 10.0**place:
        return "0"
    digits = min(max(math.floor(math.log10(abs(value))) - place, 0), 9)
    return _scientific(value, digits)


def _scientific(value: float, digits: int, *, trim: bool = False) -> str:
    mantissa, _, power = f"{value:.{digits}e}".partition("e")
    if trim and "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(power)}"
