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
    fit.add_argument(
        "model",
        metavar="MODEL",
        help="path/file.py (its function `model`, or the only one that samples), "
        "path/file.py:function or module:function",
    )
    fit.add_argument(
        "--data", metavar="FILE", required=True, help="a table: CSV with a header row, NPZ or JSON"
    )
    fit.add_argument(
        "--out",
        metavar="DIR",
        help="also write the summary, the posterior, the plots and the findings into this folder",
    )
    fit.add_argument(
        "--guide",
        metavar="G",
        default="auto",
        help="auto (the default), mean-field, low-rank, full-rank or mixture",
    )
    fit.add_argument("--seed", metavar="N", type=_seed, default=0, help="random seed (default 0)")
    fit.add_argument(
        "--budget", metavar="S", type=_seconds, help="stop after about this many seconds"
    )
    fit.add_argument(
        "--set",
        metavar="name=value",
        nargs="+",
        action="extend",
        default=[],
        dest="settings",
        help="give an argument of the model a number, or a column: name=column:COL",
    )
    fit.add_argument("--force", action="store_true", help="write over files that exist in DIR")
    fit.add_argument(
        "--quiet", action="store_true", help="no progress and no remarks, only the result"
    )
    fit.add_argument("--json", action="store_true", help="print one JSON object, not the text")


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
