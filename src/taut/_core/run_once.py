"""Functions compiled for being run once, as checks are: as little as possible is made of them."""

from collections.abc import Callable
from typing import Any

import jax

from taut._core.retraced import retraced
from taut._core.straight import straight
from taut._core.xla_options import ONCE, cpu_options


def run_once(function: Callable) -> Callable:
    """Return a function compiled for being run once."""
    return jax.jit(function, compiler_options=cpu_options(ONCE))


def map_once(function: Callable) -> Callable:
    """Return a function of stacked rows, compiled for being run once, that maps one of a row."""

    def mapped(rows: Any) -> Any:
        return jax.lax.map(retraced(function, straight), rows)

    return run_once(mapped)
