"""Decides which column goes to which argument of the model.

An argument gets the column of its own name. Failing that, it gets the one unused column whose name
differs only in capitals and punctuation ("Sigma Y" for `sigma_y`), and that guess is said. What
`--set` says goes first. Arguments with a default keep it when nothing fits.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

import numpy as np

from taut._core.errors import InputError, did_you_mean, first_few
from taut.cli.settings import FromColumn, Setting, format_setting
from taut.cli.signature import underlying
from taut.cli.table import Table, Unusable

_COLUMNS_SHOWN = 20
_COLLECTORS = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Arguments:
    """What the model is called with, and where it came from.

    Attributes:
        positional: Values of the model's positional-only arguments.
        named: Values of all others, by name.
        settings: For each argument given, the text that `--set` would need to say the same.
        remarks: Sentences about guesses, and about arguments left without data.
    """

    positional: tuple[Any, ...]
    named: dict[str, Any]
    settings: dict[str, str]
    remarks: tuple[str, ...]


def match_arguments(model: Callable, table: Table, settings: Mapping[str, Setting]) -> Arguments:
    """Match a table's columns, and settings made by hand, to a model's arguments.

    Raises:
        InputError: With every problem of the file, the settings and the match at once.
    """
    if table.problems and not table.columns:
        raise InputError(table.problems)
    parameters = inspect.signature(underlying(model)).parameters
    wanted = {name: p for name, p in parameters.items() if p.kind not in _COLLECTORS}
    problems = list(table.problems)
    if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
        problems += [_unknown(name, wanted) for name in settings if name not in wanted]

    chosen = dict(settings)
    for name in wanted:
        if name not in chosen and name in table.columns:
            chosen[name] = FromColumn(name)
    remarks, left_none = [], []
    for name in [name for name in wanted if name not in chosen]:
        candidates = [c for c in _unused(chosen, table) if _plain(c) == _plain(name)]
        if len(candidates) == 1:
            chosen[name] = FromColumn(candidates[0])
            remarks.append(f"guessed that {name} is the column {candidates[0]!r}")
        elif candidates:
            problems.append(_unclear(name, candidates, table))
        elif wanted[name].default is Parameter.empty:
            problems.append(_missing(name, table))
        elif wanted[name].default is None:
            left_none.append(name)
    values = {}
    for name, setting in chosen.items():
        value = _look_up(setting.column, table) if isinstance(setting, FromColumn) else setting
        if isinstance(value, Unusable):
            problems.append(f"the model's argument {name!r}: {value.reason}")
        values[name] = value
    left = [_left_none(name, chosen, table) for name in left_none]
    if problems:
        # What is no more than a remark of a call that can be made may be what is wrong with it.
        raise InputError([*problems, *_not_finite(values), *left])

    first = [n for n, p in wanted.items() if p.kind is Parameter.POSITIONAL_ONLY and n in values]
    return Arguments(
        positional=tuple(values[name] for name in first),
        named={name: value for name, value in values.items() if name not in first},
        settings={name: format_setting(setting) for name, setting in chosen.items()},
        remarks=(*remarks, *left),
    )


def _not_finite(values: Mapping[str, Any]) -> list[str]:
    """Say which values are not finite, where the model cannot be run to see if it minds."""
    from taut.targets.not_finite import suspected_arguments

    arrays = {name: v for name, v in values.items() if isinstance(v, np.ndarray)}
    return suspected_arguments(list(arrays), list(arrays.values()), ())


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _unused(chosen: Mapping[str, Setting], table: Table) -> list[str]:
    used = {setting.column for setting in chosen.values() if isinstance(setting, FromColumn)}
    return [column for column in table.columns if column not in used]


def _look_up(column: str, table: Table) -> Any:
    if column in table.columns:
        return table.columns[column]
    return Unusable(
        f"{table.path} has no column {column!r}{did_you_mean(column, table.columns)}; "
        f"its columns are {_listed(table)}"
    )


def _listed(table: Table) -> str:
    return first_few(list(table.columns), _COLUMNS_SHOWN)


def _unknown(name: str, wanted: Mapping[str, Parameter]) -> str:
    return (
        f"--set {name}: the model takes no argument {name!r}{did_you_mean(name, wanted)}; "
        f"its arguments are {', '.join(wanted) or 'none'}"
    )


def _missing(name: str, table: Table) -> str:
    return (
        f"the model's argument {name!r} has no column in {table.path}"
        f"{did_you_mean(name, table.columns)}; the columns are {_listed(table)}; choose one with "
        f"--set {name}=column:COL or give a number with --set {name}=NUMBER"
        f"{_unusable_like(name, table)}"
    )


def _unusable_like(name: str, table: Table) -> str:
    """Say what is wrong with columns of like names, one of which may be meant."""
    unusable = {c: v.reason for c, v in table.columns.items() if isinstance(v, Unusable)}
    return "".join(f"; {reason}" for c, reason in unusable.items() if did_you_mean(name, [c]))


def _unclear(name: str, candidates: list[str], table: Table) -> str:
    names = ", ".join(map(repr, candidates))
    return (
        f"the model's argument {name!r} could be any of the columns {names} of {table.path}; "
        f"choose with --set {name}='column:{candidates[0]}'"
    )


def _left_none(name: str, chosen: Mapping[str, Setting], table: Table) -> str:
    unused = _unused(chosen, table)
    hint = f"; columns not used: {first_few(unused, _COLUMNS_SHOWN)}" if unused else ""
    said = f"no column for {name}, so it stays None{did_you_mean(name, unused)}{hint}"
    return said + _unusable_like(name, table)
