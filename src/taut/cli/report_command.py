"""`taut report`: a stored fit in, one HTML page out."""

import argparse
import contextlib
import sys
from pathlib import Path

from taut._core.errors import InputError
from taut.cli.exit_code import ExitCode
from taut.cli.model_call import read_call, remarks_on, tell
from taut.cli.record import record_of
from taut.cli.results_folder import REPORT, to_json
from taut.cli.stored_fit import check_free_file, exit_code_of, open_fit, posterior_path


def run_report(options: argparse.Namespace) -> ExitCode:
    """Run `taut report` with the options read from the command line.

    Raises:
        InputError: If the options, the fit, the model, the data or the output must be changed.
    """
    path = posterior_path(options.fit)
    out = path.parent / REPORT if options.out is None else Path(options.out)
    check_free_file(out, options.force)
    if options.model is None:
        if options.data is not None or options.settings:
            raise InputError("--data and --set are the model's arguments: name it with --model")
        remarks, fit = [], open_fit(path)
    else:
        model, arguments = read_call(options.model, options.data, options.settings)
        remarks = remarks_on(model, arguments)
        with contextlib.redirect_stdout(sys.stderr):
            fit = open_fit(path, model.function, arguments)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            fit.report(out, title=options.title or path.stem)
        except OSError as error:
            raise InputError(f"{out} could not be written: {error}") from None
    if options.json:
        print(to_json(record_of(fit) | {"files": [str(out)]}), flush=True)
    elif not options.quiet:
        tell("report", *remarks, f"wrote {out}; trust: {fit.trust}")
    return exit_code_of(fit.trust)
