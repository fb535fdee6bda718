"""Compiling beside other work.

XLA compiles without holding Python's lock, so one program can be compiled while the next is traced
and while the first fits.
"""

import concurrent.futures
import functools
from typing import Any

import numpy as np

from taut._core.loop_unrolling import compile_quickly
from taut._core.precision import precision_of


class Compiled:
    """An executable that is being compiled; the first call waits for it.

    Args:
        lowered: what to compile.
        options: XLA options.
        dtype: the floating type it computes in.
        keep_loops: do not write loops out, where there are options.
    """

    def __init__(
        self,
        lowered: Any,
        options: dict[str, Any] | None,
        dtype: np.dtype,
        keep_loops: bool = False,
    ):
        def compile_now() -> Any:
            with precision_of(dtype):
                if keep_loops:
                    return compile_quickly(lowered, options)
                return lowered.compile(compiler_options=options)

        self._future = _workers().submit(compile_now)

    def __call__(self, *arguments: Any) -> Any:
        """Call the executable."""
        return self._future.result()(*arguments)

    def wait(self) -> None:
        """Return when it is compiled."""
        self._future.result()


@functools.cache
def _workers() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="taut-compile")
