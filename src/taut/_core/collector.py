"""Python's garbage collector, held back while programs are traced.

Tracing makes some hundred thousand objects that stay. Looking among them for garbage, again and
again, takes a tenth of the time that a small model is traced in, and finds next to nothing.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_held() -> Iterator[None]:
    """Hold the collector back, if it is on."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
