"""The entry point: reads the command line, runs the command, returns an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence

from taut._core.errors import TautError
from taut.cli.exit_code import ExitCode
from taut.cli.parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `taut`.

    Args:
        argv: The arguments after the command's name; those of the process if left out.

    Returns:
        0 for a trusted or usable fit, 3 for one not to be trusted, 2 for bad input (for `check`, a
        guide with errors), 130 for Ctrl-C
        before there was a result, 141 if the reader of our output left. An error inside the model
        that is not the fault of its input keeps its traceback.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help(sys.stderr)
        return ExitCode.BAD_INPUT

    run = getattr(importlib.import_module(f"taut.cli.{options.command}_command"), options.run)
    try:
        return run(options)
    except TautError as error:
        print(f"taut {options.command}: {error}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    except KeyboardInterrupt:
        print(f"taut {options.command}: interrupted.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`taut fit ... | head`). Python would complain once more
        # when it flushes stdout at exit, so stdout is pointed elsewhere first.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OUTPUT_CLOSED
