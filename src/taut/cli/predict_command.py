"""`taut predict`: a stored fit, its model and new data in, predictions out."""

import argparse
import contextlib
import csv
import inspect
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut._core.whole_file import write_whole
from taut.cli.arguments import Arguments
from taut.cli.exit_code import ExitCode
from taut.cli.model_call import read_call, remarks_on, spelled, tell
from taut.cli.model_function import ModelFunction
from taut.cli.record import plain
from taut.cli.results_folder import to_json, whole_file
from taut.cli.stored_fit import check_free_file, exit_code_of, open_fit, posterior_path

COLUMNS = ("mean", "sd", "5%", "25%", "50%", "75%", "95%")
_ENDINGS = (".csv", ".npz", ".nc")
_LINES = 60


def run_predict(options: argparse.Namespace) -> ExitCode:
    """Run `taut predict` with the options read from the command line.

    Raises:
        InputError: If the options, the fit, the model, the data or the output must be changed.
    """
    path = posterior_path(options.fit)
    out = None if options.out is None else Path(options.out)
    if out is not None:
        if out.suffix not in _ENDINGS:
            raise InputError(f"--out {out} must end in {' or '.join(_ENDINGS)}")
        check_free_file(out, options.force)
    model, arguments = read_call(options.model, options.data, options.settings)
    if not options.quiet:
        tell("predict", f"{model.label} with {spelled(arguments)}", *remarks_on(model, arguments))
    with contextlib.redirect_stdout(sys.stderr):
        fit = open_fit(path, model.function)
        made = _predict(fit, model, arguments, options)
    from taut.report.summary import summarise

    table = summarise(made)
    if out is not None:
        _write(out, fit, made, table)
        if not options.quiet:
            tell("predict", f"wrote {out}")
    if options.json:
        rows = {name: {column: table[name][column] for column in COLUMNS} for name in table}
        files = [] if out is None else [str(out)]
        print(to_json(plain({"trust": fit.trust, "predictions": rows, "files": files})), flush=True)
    elif out is None:
        print("\n".join(table.lines(_LINES)), flush=True)
    if not options.quiet and fit.trust != "trusted":
        tell("predict", f"the fit is {fit.trust!r}")
    return exit_code_of(fit.trust)


def _predict(
    fit: Any, model: ModelFunction, arguments: Arguments, options: argparse.Namespace
) -> dict[str, np.ndarray]:
    # By position as far as possible, so that a model may have an argument called `seed`.
    bound = inspect.signature(model.function).bind(*arguments.positional, **arguments.named)
    bound.apply_defaults()
    chosen = {"draws": options.draws, "seed": options.seed, "anew": options.anew}
    if not bound.args and not bound.kwargs:
        raise InputError(
            f"{model.label} takes no arguments, so there is nothing new to predict from here; in "
            "Python, taut.load(path, taut.target(model)).predict() repeats its data"
        )
    return fit.predict(*bound.args, **bound.kwargs, **chosen)


def _write(path: Path, fit: Any, made: dict[str, np.ndarray], table: Any) -> None:
    try:
        if path.suffix == ".nc":
            from taut.report.arviz import to_arviz

            tree = to_arviz({"predictions": made}, {"trust": fit.trust, **fit.versions})
            with whole_file(path.parent, path.name) as unfinished:
                tree.to_netcdf(unfinished, engine="h5netcdf")
            return
        if path.suffix == ".npz":
            buffer = io.BytesIO()
            arrays: Any = made
            np.savez(buffer, **arrays)
            write_whole(path, buffer.getvalue())
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("value", *COLUMNS))
        for name in table:
            writer.writerow((name, *(repr(table[name][column]) for column in COLUMNS)))
        write_whole(path, text.getvalue().encode("utf-8"))
    except OSError as error:
        raise InputError(f"{path} could not be written: {error}") from None
