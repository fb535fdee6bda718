"""One line that says how a fit is doing, redrawn by time."""

import sys
import time
from typing import Any, Protocol, runtime_checkable

REDRAW_EVERY = 0.1
PLAIN_LINE_EVERY = 5.0
WIDTH = 79


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
        self._shown = False

    def update(self, phase: str, **numbers: Any) -> None:
        """Say what is being done; most calls return at once, because the line is not due."""
        if not self._enabled:
            return
        now = time.perf_counter()
        if now - self._last < self._every:
            return
        self._last = now
        self._write(self._line(phase, numbers))

    def finish(self, phase: str, **numbers: Any) -> None:
        """Write the last line."""
        if not self._enabled:
            return
        self._write(self._line(phase, numbers))
        if self._live:
            self._stream.write("\n")
        self._stream.flush()

    def interrupt(self) -> None:
        """Leave the line, before other text is written."""
        if self._live and self._shown:
            self._stream.write("\n")
            self._stream.flush()

    def _line(self, phase: str, numbers: dict[str, Any]) -> str:
        seconds = time.perf_counter() - self._start
        parts = [f"taut {seconds:5.1f} s", phase]
        for name, value in numbers.items():
            shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
            parts.append(f"{name.replace('_', ' ')} {shown}")
        return " | ".join(parts)[:WIDTH]

    def _write(self, line: str) -> None:
        if self._live:
            self._stream.write("\r" + line.ljust(WIDTH))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
        self._shown = True


def _is_terminal(stream: Stream) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
