"""Reads `--set name=value`: what a user says about an argument of the model by hand."""

from collections.abc import Iterable
from dataclasses import dataclass

from taut._core.errors import InputError

_COLUMN = "column:"
_WORDS = {"true": True, "false": False, "none": None}

Literal = int | float | bool | None


@dataclass(frozen=True)
class FromColumn:
    """The argument is this column of the data."""

    column: str


Setting = FromColumn | Literal


def parse_settings(texts: Iterable[str]) -> dict[str, Setting]:
    """Read settings such as `n=8`, `scale=0.5`, `centred=true` and `y=column:flux`.

    Raises:
        InputError: If any of them cannot be read, or names an argument twice.
    """
    settings: dict[str, Setting] = {}
    problems = []
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            problems.append(f"--set {text}: write it as name=number or name=column:COL")
            continue
        if name in settings:
            problems.append(f"--set {text}: {name!r} is set twice; keep one of the two")
            continue
        try:
            settings[name] = _parse_value(value)
        except ValueError:
            problems.append(
                f"--set {text}: {value!r} is not a number; for a column write "
                f"--set {name}={_COLUMN}{value}"
            )
    if problems:
        raise InputError(problems)
    return settings


def format_setting(setting: Setting) -> str:
    """Write a setting the way `--set` reads it."""
    if isinstance(setting, FromColumn):
        return _COLUMN + setting.column
    return str(setting).lower()


def _parse_value(text: str) -> Setting:
    if text.startswith(_COLUMN):
        return FromColumn(text.removeprefix(_COLUMN).strip())
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return int(text)
    except ValueError:
        return float(text)
