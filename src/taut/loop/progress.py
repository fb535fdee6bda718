"""One line that says how a fit is doing, redrawn by time."""

import os
import shutil
import sys
import time
from typing import Any, Protocol, runtime_checkable

REDRAW_EVERY = 0.1
PLAIN_LINE_EVERY = 5.0
UNKNOWN_WIDTH = 80


@runtime_checkable
class Stream(Protocol):
    """What a line can be written to, a file or what a notebook puts in its place."""

    def write(self, text: str, /) -> Any:
        """Take some text."""
        ...

    def flush(self) -> Any:
        """Show it."""
        ...


class Progress:
    """Writes to standard error: a line redrawn in place on a terminal, plain lines elsewhere.

    Args:
        enabled: False writes nothing.
        stream: where to; standard error by default.
    """

    def __init__(self, enabled: bool, stream: Stream | None = None):
        self._stream = sys.stderr if stream is None else stream
        self._enabled = enabled
        self._live = enabled and (_is_terminal(self._stream) or _in_notebook())
        self._every = REDRAW_EVERY if self._live else PLAIN_LINE_EVERY
        self._start = time.perf_counter()
        # A quick fit on no terminal prints its last line only.
        self._last = self._start - REDRAW_EVERY if self._live else self._start
        self._shown = 0  # columns that the line takes now

    def update(self, phase: str, **numbers: Any) -> None:
        """Say what is being done; most calls return at once, because the line is not due."""
        if not self._enabled:
            return
        now = time.perf_counter()
        if now - self._last < self._every:
            return
        self._last = now
        self._write(self._parts(phase, numbers))

    def finish(self, phase: str, **numbers: Any) -> None:
        """Write the last line."""
        if not self._enabled:
            return
        self._write(self._parts(phase, numbers))
        if self._live:
            self._stream.write("\n")
        self._stream.flush()

    def interrupt(self) -> None:
        """Leave the line, before other text is written."""
        if self._live and self._shown:
            self._stream.write("\n")
            self._stream.flush()

    def _parts(self, phase: str, numbers: dict[str, Any]) -> list[str]:
        seconds = time.perf_counter() - self._start
        parts = [f"taut {seconds:5.1f} s", phase]
        for name, value in numbers.items():
            shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
            parts.append(f"{name.replace('_', ' ')} {shown}")
        return parts

    def _write(self, parts: list[str]) -> None:
        if self._live:
            # A cursor past the last column may wrap, and the line is not redrawn in place then.
            room = _columns(self._stream) - 1
            line = _whole_parts(parts, room)
            self._stream.write("\r" + line.ljust(min(self._shown, room)))
            self._shown = len(line)
        else:
            self._stream.write(" | ".join(parts) + "\n")
        self._stream.flush()


def _whole_parts(parts: list[str], room: int) -> str:
    """Return as many of the parts as there is room for, the first ones; half a number misleads."""
    while parts and len(" | ".join(parts)) > room:
        parts = parts[:-1]
    return " | ".join(parts)


def _columns(stream: Any) -> int:
    """Return the width of the terminal that a stream writes to, which may change at any time."""
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except (AttributeError, ValueError, OSError):  # no file, or none that is a terminal
        width = shutil.get_terminal_size((UNKNOWN_WIDTH, 24)).columns
    return width or UNKNOWN_WIDTH


def _is_terminal(stream: Stream) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
