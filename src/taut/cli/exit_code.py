"""What the command's exit code says to a script."""

import enum


class ExitCode(enum.IntEnum):
    """The exit codes of `taut`."""

    BELIEVABLE = 0
    """The fit is trusted, or usable."""
    BAD_INPUT = 2
    """The command line, the model, the data or the output folder has to be changed."""
    NOT_TRUSTED = 3
    """There is a fit, but it should not be believed as it is."""
    INTERRUPTED = 130
    """Ctrl-C came before there was a result (128 + SIGINT, as shells have it)."""
    OUTPUT_CLOSED = 141
    """Whoever read our output went away (128 + SIGPIPE, as shells have it)."""
