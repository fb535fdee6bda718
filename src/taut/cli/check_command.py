"""`taut check`: all that is wrong with a guide, before it is fitted."""

import argparse
import contextlib
import dataclasses
import sys

from taut.cli.exit_code import ExitCode
from taut.cli.model_call import read_call, remarks_on, tell
from taut.cli.model_function import load_model
from taut.cli.record import plain
from taut.cli.results_folder import to_json


def run_check(options: argparse.Namespace) -> ExitCode:
    """Run `taut check` with the options read from the command line.

    Returns:
        Bad input if the guide has errors; warnings are no errors.

    Raises:
        InputError: If the options, the model, the guide's file or the data must be changed.
    """
    import taut

    model, arguments = read_call(options.model, options.data, options.settings)
    if not options.quiet:
        tell("check", *remarks_on(model, arguments))
    # A bare name is a function of the model's own file.
    source = model.label.rpartition(":")[0]
    text = f"{source}:{options.guide}" if options.guide.isidentifier() else options.guide
    with contextlib.redirect_stdout(sys.stderr):
        guide = load_model(text)
        found = taut.check(
            model.function,
            guide.function,
            *arguments.positional,
            prior_ok=tuple(options.prior_ok),
            **arguments.named,
        )
    if options.json:
        problems = [dataclasses.asdict(problem) for problem in found.problems]
        print(to_json(plain({"ok": found.ok, "problems": problems})), flush=True)
    else:
        print(found, flush=True)
    return ExitCode.BELIEVABLE if found.ok else ExitCode.BAD_INPUT
