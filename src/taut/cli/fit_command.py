"""`taut fit`: a model and a file of data in, a posterior and its trust out."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

from taut._core.errors import InputError
from taut.cli.arguments import Arguments
from taut.cli.exit_code import ExitCode
from taut.cli.model_call import read_call, remarks_on, spelled, tell
from taut.cli.model_function import ModelFunction
from taut.cli.record import plain, record_of
from taut.cli.results_folder import (
    check_arviz,
    check_free,
    make_folder,
    to_json,
    write_arviz,
    write_plots,
    write_report,
    write_results,
)
from taut.cli.stored_fit import exit_code_of
from taut.cli.versions import all_versions
from taut.targets.problems import Problems


def run_fit(options: argparse.Namespace) -> ExitCode:
    """Run `taut fit` with the options read from the command line.

    Everything that can be wrong with the input is looked at before the fit, and told at once.

    Raises:
        InputError: If the options, the data file, the model or the output folder must be changed.
    """
    folder = None if options.out is None else Path(options.out)
    problems = Problems()
    if folder is not None:
        problems.attempt(check_free, folder, options.force)
    if options.arviz:
        problems.attempt(check_arviz, folder)
    call = problems.attempt(read_call, options.model, options.data, options.settings)
    wrong_guide = _guide_problems(options.guide)
    if call is None:
        raise InputError([*problems.found, *wrong_guide])
    model, arguments = call
    remarks = remarks_on(model, arguments)
    if not options.quiet:
        tell("fit", f"{model.label} with {spelled(arguments)}, from {options.data}", *remarks)
    with contextlib.redirect_stdout(sys.stderr):
        target = problems.attempt(_bind, model, arguments)
    if problems.found:
        raise InputError([*problems.found, *wrong_guide])
    if folder is not None and not wrong_guide:  # with it, the fit ends before there are results
        make_folder(folder)
    with contextlib.redirect_stdout(sys.stderr):
        fit = _fit(target, options)
    record = record_of(fit) | {
        "model": model.label,
        "data": options.data,
        "arguments": arguments.settings,
        "remarks": remarks,
        "seed": options.seed,
        "versions": all_versions(),
    }
    _deliver(fit, record, folder, options)
    return exit_code_of(fit.trust)


def _guide_problems(guide: str) -> list[str]:
    from taut.fitting.options import guide_problems

    return guide_problems(None, guide, ())


def _bind(model: ModelFunction, arguments: Arguments) -> Any:
    import taut
    from taut.targets.discovery import NO_DATA

    # Bound first, so that a model may have arguments called `seed` or `guide`.
    target = taut.target(model.function, *arguments.positional, **arguments.named)
    if NO_DATA in target.program.notes:
        raise InputError(
            f"no site of {model.label} is observed, so the data do not matter; give each "
            "argument that goes to obs= its column, such as --set y=column:flux"
        )
    return target


def _fit(target: Any, options: argparse.Namespace) -> Any:
    import taut

    return taut.fit(
        target,
        guide=options.guide,
        seed=options.seed,
        budget=options.budget,
        progress=not options.quiet,
    )


def _deliver(
    fit: Any, record: dict[str, Any], folder: Path | None, options: argparse.Namespace
) -> None:
    """Write and print: what is precious first, what takes long last."""
    files = []
    # What the model prints when it is run for predictions goes to stderr.
    with contextlib.redirect_stdout(sys.stderr):
        if folder is not None:
            files += write_results(fit, record, folder)
        text, summary = str(fit), plain(fit.summary())
    if not options.json:
        print(text, flush=True)
    if folder is not None:
        with contextlib.redirect_stdout(sys.stderr):
            plots, skipped = write_plots(fit, folder)
            files += [*plots, *write_report(fit, folder)]
            if options.arviz:
                files += write_arviz(fit, folder)
        if not options.quiet:
            tell("fit", f"wrote {', '.join(files)} into {folder}", *skipped)
    if options.json:
        extra = {"summary": summary, "files": [str(folder / name) for name in files]}
        print(to_json(record | extra), flush=True)
