"""`taut compare`: several stored fits side by side."""

import argparse
from pathlib import Path

from taut._core.errors import InputError
from taut.cli.exit_code import ExitCode
from taut.cli.record import plain
from taut.cli.results_folder import POSTERIOR, to_json
from taut.cli.stored_fit import exit_code_of, open_fit, posterior_path


def run_compare(options: argparse.Namespace) -> ExitCode:
    """Run `taut compare` with the options read from the command line.

    Raises:
        InputError: If a fit is not there, or they have nothing in common.
    """
    from taut.report.comparison import compare

    paths = [posterior_path(text) for text in options.fits]
    names = [_name(path) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise InputError("the same fit is named twice; name different ones")
    fits = {name: open_fit(path) for name, path in zip(names, paths, strict=True)}
    found = compare(fits, reference=options.reference)
    if options.json:
        entries = {
            name: {
                "trust": fits[name].trust,
                "mean": dict(zip(found.names, found.mean[row].tolist(), strict=True)),
                "sd": dict(zip(found.names, found.sd[row].tolist(), strict=True)),
                "difference": dict(zip(found.names, found.difference[row].tolist(), strict=True)),
                "sd_ratio": dict(zip(found.names, found.sd_ratio[row].tolist(), strict=True)),
            }
            for row, name in enumerate(names)
        }
        print(to_json(plain({"reference": found.reference, "entries": entries})), flush=True)
    else:
        print(found, flush=True)
    return exit_code_of(*(fit.trust for fit in fits.values()))


def _name(path: Path) -> str:
    """Return a fit's name: its folder's where the file has the usual name, or its own."""
    return path.resolve().parent.name if path.name == POSTERIOR else path.stem
