"""A model and the arguments that a command line gives it."""

import contextlib
import sys
from pathlib import Path

from taut._core.errors import InputError
from taut.cli.arguments import Arguments, match_arguments
from taut.cli.model_function import ModelFunction, load_model
from taut.cli.read_table import read_table
from taut.cli.settings import parse_settings
from taut.cli.table import Table
from taut.targets.problems import Problems


def read_call(model: str, data: str | None, settings: list[str]) -> tuple[ModelFunction, Arguments]:
    """Load a model and match a file of data, and settings, to its arguments.

    Args:
        model: such as "path/file.py:function".
        data: the file; None if the settings say everything.
        settings: texts such as "n=8".

    Raises:
        InputError: With everything that is wrong with them.
    """
    problems = Problems()
    chosen = problems.attempt(parse_settings, settings)
    none = Table(Path("(no --data)"), {})
    table = none if data is None else problems.attempt(read_table, data)
    # What the model prints goes to stderr: stdout carries the result and nothing else.
    with contextlib.redirect_stdout(sys.stderr):
        function = problems.attempt(load_model, model)
    if chosen is None or table is None or function is None:
        problems.found += table.problems if table else ()
        raise InputError(problems.found)
    return function, match_arguments(function.function, table, chosen)


def tell(command: str, *sentences: str) -> None:
    """Say something on stderr, in the name of a command."""
    for sentence in sentences:
        print(f"taut {command}: {sentence}", file=sys.stderr, flush=True)


def remarks_on(model: ModelFunction, arguments: Arguments) -> list[str]:
    """Return what was guessed about a call."""
    taken = [f"took {model.label}, the only function that samples"] if model.guessed else []
    return taken + list(arguments.remarks)


def spelled(arguments: Arguments) -> str:
    """Return where each argument comes from, such as 'x=column:x'."""
    return (
        ", ".join(f"{name}={text}" for name, text in arguments.settings.items()) or "no arguments"
    )
