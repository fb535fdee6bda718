"""Where in the user's own code an exception, or a traced operation, came from."""

import linecache
import os
import re
import sysconfig
import traceback
from types import TracebackType

_LIBRARIES = tuple(
    {os.path.realpath(sysconfig.get_paths()[k]) for k in ("purelib", "platlib", "stdlib")}
)
_OURS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def model_location(error: BaseException) -> str:
    """Return ' at file:line (`code`)' for the innermost frame that is not a library's, or ''."""
    return code_location(error.__traceback__)


def code_location(innermost_last: TracebackType | None) -> str:
    """Return the same for a traceback."""
    frames = [
        frame
        for frame in traceback.extract_tb(innermost_last)
        if not os.path.realpath(frame.filename).startswith((*_LIBRARIES, _OURS))
        and "site-packages" not in frame.filename
    ]
    if not frames:
        return ""
    frame = frames[-1]
    code = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
    shown = f" (`{code}`)" if code else ""
    return f" at {os.path.basename(frame.filename)}:{frame.lineno}{shown}"


def plain_words(error: BaseException) -> str:
    """Return the first line of what an exception says, without JAX's names for traced arrays."""
    first = (str(error).strip() or "no message").splitlines()[0]
    return re.sub(r"\b\w*Tracer\b", "jax.Array", first)
