"""The files that a fit leaves in a folder.

Each file is written under another name first and renamed when it is whole, so that a crash leaves
either the whole file or none.
"""

import contextlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taut._core.errors import InputError, MissingExtraError, TautError

TEXT, TABLE, POSTERIOR, TRUST = "summary.txt", "summary.csv", "posterior.npz", "trust.json"
LOSS_PLOT, CORNER_PLOT, REPORT = "loss.png", "corner.png", "report.html"
FILES = (TEXT, TABLE, POSTERIOR, TRUST, LOSS_PLOT, CORNER_PLOT, REPORT)
ARVIZ = "arviz.nc"
"""Written on request only: with log likelihoods and predictions it can be large."""


def check_free(folder: Path, force: bool) -> None:
    """Check that the results can go into a folder without destroying anything.

    Raises:
        InputError: If files of earlier results are there and `force` is off, or if something that
            is no folder has the folder's name.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file, and has to be a folder; choose another name")
    taken = [name for name in (*FILES, ARVIZ) if (folder / name).exists()]
    if taken and not force:
        raise InputError(
            f"{folder} already holds {', '.join(taken)}; nothing was fitted or written: choose "
            "another --out, or add --force to write over them"
        )


def make_folder(folder: Path) -> None:
    """Make the folder, and its parents, before time is spent on a fit.

    Raises:
        InputError: If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"the folder {folder} cannot be written to; choose another --out")


def write_results(fit: Any, record: dict[str, Any], folder: Path) -> list[str]:
    """Write the text, table, posterior and record of a fit, and return the names of the files."""
    with whole_file(folder, TEXT) as path:
        path.write_text(f"{fit}\n", encoding="utf-8")
    with whole_file(folder, TABLE) as path:
        fit.summary().to_csv(path)
    with whole_file(folder, POSTERIOR) as path:
        fit.save(path)
    with whole_file(folder, TRUST) as path:
        path.write_text(to_json(record) + "\n", encoding="utf-8")
    return [TEXT, TABLE, POSTERIOR, TRUST]


def write_plots(fit: Any, folder: Path) -> tuple[list[str], list[str]]:
    """Draw the loss and the corner plot.

    Returns:
        The names of the files written, and sentences about those skipped, be it that a library
        for plotting is not installed or that there is nothing to draw.
    """
    written, skipped = [], []
    for name, draw in ((LOSS_PLOT, fit.plot.loss), (CORNER_PLOT, fit.plot.corner)):
        try:
            figure = draw()
        except TautError as error:
            skipped.append(f"{name} skipped: {error}")
            continue
        with whole_file(folder, name) as path:
            figure.savefig(path, dpi=150)
        written.append(name)
    return written, skipped


def write_report(fit: Any, folder: Path) -> list[str]:
    """Write the HTML page, and return the name of the file."""
    with whole_file(folder, REPORT) as path:
        fit.report(path, title=folder.resolve().name)
    return [REPORT]


def check_arviz(folder: Path | None) -> None:
    """Check that an ArviZ tree could be written, before time is spent on a fit.

    Raises:
        InputError: If there is no folder to write it into.
        MissingExtraError: If a library for it is not installed.
    """
    if folder is None:
        raise InputError("--arviz writes arviz.nc into the folder of --out: give one")
    for library in ("arviz_base", "h5netcdf"):
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError(library.replace("_", "-"), "arviz")


def write_arviz(fit: Any, folder: Path) -> list[str]:
    """Write the fit as an ArviZ tree in NetCDF, and return the name of the file."""
    tree = fit.to_arviz()
    with whole_file(folder, ARVIZ) as path:
        tree.to_netcdf(path, engine="h5netcdf")
    return [ARVIZ]


def to_json(record: dict[str, Any]) -> str:
    """Write plain data as JSON for people and programs."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)


@contextlib.contextmanager
def whole_file(folder: Path, name: str) -> Iterator[Path]:
    """Give a path to write to, and put the file in its place when all went well.

    Raises:
        InputError: If the system refuses to write the file.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".taut-", dir=folder) as workshop:
            yield Path(workshop, name)
            os.replace(Path(workshop, name), folder / name)
    except OSError as error:
        raise InputError(f"{folder / name} could not be written: {error}") from None
