"""Finds and opens the fit that a command names: a posterior file, or the folder it is in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from taut._core.errors import InputError
from taut.cli.arguments import Arguments
from taut.cli.exit_code import ExitCode
from taut.cli.results_folder import POSTERIOR


def posterior_path(text: str) -> Path:
    """Return the path of a posterior file, given itself or its folder.

    Raises:
        InputError: If there is no such file.
    """
    path = Path(text)
    if path.is_dir():
        path = path / POSTERIOR
    if not path.is_file():
        raise InputError(
            f"there is no fit at {path}; give the folder that `taut fit --out DIR` wrote, or a "
            "file written by fit.save"
        )
    return path


def open_fit(path: Path, model: Callable | None = None, arguments: Arguments | None = None) -> Any:
    """Load a fit, alone, with its model, or with its model and the data it was fitted to."""
    import taut

    if model is None:
        return taut.load(path)
    if arguments is None:
        return taut.load(path, model)
    # Bound first, so that a model may have any argument names.
    return taut.load(path, taut.target(model, *arguments.positional, **arguments.named))


def check_free_file(path: Path, force: bool) -> None:
    """Check that a file can be written without destroying another.

    Raises:
        InputError: If it is there and `force` is off, or if its folder is not.
    """
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; make it, or choose another")
    if path.exists() and not force:
        raise InputError(f"{path} is there already; choose another --out, or add --force")


def exit_code_of(*trusts: str) -> ExitCode:
    """Return what the trust in one or several fits means to a script."""
    return ExitCode.NOT_TRUSTED if "not trusted" in trusts else ExitCode.BELIEVABLE
