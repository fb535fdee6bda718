"""The command line: commands, options and their help."""

import argparse

import taut

_FIT_EPILOG = """\
how the data reach the model:
  A column goes to the model's argument of the same name; small differences in
  capitals and punctuation are bridged, and said. Arguments that default to None
  (as in y=None) get their column too. To say it yourself:
    --set y=column:flux       the argument y is the column "flux"
    --set n_groups=8          the argument n_groups is the number 8

exit codes:
  0 trusted or usable    3 not trusted    2 bad input    130 interrupted

example:
  taut fit examples/hogg/model.py --data examples/hogg/data.csv --out out/
"""

_PREDICT_EPILOG = """\
Columns of the new data go to the model's arguments as in `taut fit`. Data of observed
sites are not needed, and not used if they are there: they are what is predicted.

exit codes: those of the fit: 0 trusted or usable, 3 not trusted; 2 bad input

example:
  taut predict out/ examples/hogg/model.py --data new.csv --out predictions.csv
"""
_REPORT_EPILOG = """\
With --model and --data, the page also holds the data against predictions, and the
prior behind each posterior.

exit codes: those of the fit: 0 trusted or usable, 3 not trusted; 2 bad input

example:
  taut report out/ --out fit.html
"""
_COMPARE_EPILOG = """\
exit codes: 0 if all are trusted or usable, 3 if one is not; 2 bad input

example:
  taut compare mean-field/ full-rank/
"""
_CHECK_EPILOG = """\
exit codes: 0 no errors, 2 errors or bad input

example:
  taut check model.py guide --data data.csv
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="taut",
        description="Fits a model to data by variational inference and says whether to believe it.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"taut {taut.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_fit(commands)
    _add_predict(commands)
    _add_report(commands)
    _add_compare(commands)
    _add_check(commands)
    for name, command in commands.choices.items():
        command.set_defaults(run=f"run_{name}")
    return parser


def _add_fit(commands) -> None:
    fit = commands.add_parser(
        "fit",
        usage="taut fit MODEL --data FILE [options]",
        help="fit a NumPyro model to a file of data",
        description="Fits a NumPyro model to a file of data and says whether to believe it.",
        epilog=_FIT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_model(fit)
    fit.add_argument(
        "--data",
        metavar="FILE",
        required=True,
        help="a table: CSV with a header row, NPZ, JSON, Parquet or NetCDF",
    )
    fit.add_argument(
        "--out",
        metavar="DIR",
        help="also write the summary, the posterior, the plots and the findings into this folder",
    )
    fit.add_argument(
        "--arviz",
        action="store_true",
        help="with --out, also write an ArviZ tree with predictions and log likelihoods, as NetCDF",
    )
    fit.add_argument(
        "--guide",
        metavar="G",
        default="auto",
        help="auto (the default), mean-field, low-rank, full-rank, mixture or flow",
    )
    fit.add_argument("--seed", metavar="N", type=_seed, default=0, help="random seed (default 0)")
    fit.add_argument(
        "--budget", metavar="S", type=_seconds, help="stop after about this many seconds"
    )
    _add_settings(fit)
    fit.add_argument("--force", action="store_true", help="write over files that exist in DIR")
    fit.add_argument(
        "--quiet", action="store_true", help="no progress and no remarks, only the result"
    )
    _add_json(fit)


def _add_predict(commands) -> None:
    predict = _command(
        commands,
        "predict",
        "taut predict FIT MODEL --data FILE [options]",
        "predict new data from a stored fit",
        _PREDICT_EPILOG,
    )
    _add_fit_file(predict)
    _add_model(predict)
    predict.add_argument("--data", metavar="FILE", help="the new data, as for taut fit")
    _add_settings(predict)
    predict.add_argument(
        "--out",
        metavar="FILE",
        help="write them to FILE.csv (mean, sd and quantiles), FILE.npz or FILE.nc (all draws)",
    )
    predict.add_argument(
        "--draws", metavar="N", type=_count, default=4000, help="number of draws (default 4000)"
    )
    predict.add_argument("--seed", metavar="N", type=_seed, default=0, help="seed (default 0)")
    predict.add_argument(
        "--anew",
        metavar="SITE",
        nargs="+",
        action="extend",
        default=[],
        help="draw these latents from their priors, such as the effects of new groups",
    )
    predict.add_argument("--force", action="store_true", help="write over a file that exists")
    predict.add_argument("--quiet", action="store_true", help="no remarks, only the result")
    _add_json(predict)


def _add_report(commands) -> None:
    report = _command(
        commands,
        "report",
        "taut report FIT [options]",
        "write a stored fit as one HTML page",
        _REPORT_EPILOG,
    )
    _add_fit_file(report)
    report.add_argument("--out", metavar="FILE", help="the page (default: report.html beside FIT)")
    report.add_argument("--title", metavar="TEXT", help="the title of the page")
    report.add_argument("--model", metavar="MODEL", help="the model, as for taut fit")
    report.add_argument("--data", metavar="FILE", help="the data it was fitted to")
    _add_settings(report)
    report.add_argument("--force", action="store_true", help="write over a file that exists")
    report.add_argument("--quiet", action="store_true", help="say nothing")
    _add_json(report)


def _add_compare(commands) -> None:
    compare = _command(
        commands,
        "compare",
        "taut compare FIT FIT [FIT ...] [options]",
        "hold stored fits of one model against each other",
        _COMPARE_EPILOG,
    )
    compare.add_argument(
        "fits",
        metavar="FIT",
        nargs="+",
        help="folders written by taut fit --out, or posteriors",
    )
    compare.add_argument(
        "--reference", metavar="NAME", help="the one to hold the others against (default the first)"
    )
    _add_json(compare)


def _add_check(commands) -> None:
    check = _command(
        commands,
        "check",
        "taut check MODEL GUIDE --data FILE [options]",
        "find what is wrong with a guide, before fitting",
        _CHECK_EPILOG,
    )
    _add_model(check)
    check.add_argument(
        "guide", metavar="GUIDE", help="a function of the model's file, or named like MODEL"
    )
    check.add_argument("--data", metavar="FILE", help="the data, as for taut fit")
    _add_settings(check)
    check.add_argument(
        "--prior-ok",
        metavar="SITE",
        nargs="+",
        action="extend",
        default=[],
        help="latents that the guide may leave to their priors",
    )
    check.add_argument("--quiet", action="store_true", help="no remarks, only the result")
    _add_json(check)


def _command(commands, name: str, usage: str, summary: str, epilog: str):
    return commands.add_parser(
        name,
        usage=usage,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_model(command) -> None:
    command.add_argument(
        "model",
        metavar="MODEL",
        help="path/file.py (its function `model`, or the only one that samples), "
        "path/file.py:function or module:function",
    )


def _add_fit_file(command) -> None:
    command.add_argument(
        "fit", metavar="FIT", help="a folder written by taut fit --out, or its posterior.npz"
    )


def _add_settings(command) -> None:
    command.add_argument(
        "--set",
        metavar="name=value",
        nargs="+",
        action="extend",
        default=[],
        dest="settings",
        help="give an argument of the model a number, or a column: name=column:COL",
    )


def _add_json(command) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object, not the text")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    message = f"{text!r} is not a number of seconds above 0"
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
    if not seconds > 0:
        raise argparse.ArgumentTypeError(message)
    return seconds
