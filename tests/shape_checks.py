"""The type checker behind jaxtyping's import hook: strict shapes, NumPy scalars are numbers.

A function's first calls in each test are checked. Later ones are of the same kind, and in loops of
small arrays checking takes longer than computing.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

CHECKED_CALLS = 20

_CONFIGURATION = BeartypeConf(
    hint_overrides=FrozenDict(
        {
            int: int | np.integer,
            float: float | int | np.floating | np.integer,
            bool: bool | np.bool_,
            np.ndarray: np.ndarray | np.generic,
        }
    )
)

_tests = 0


def start_test() -> None:
    """Check every function's first calls again."""
    global _tests
    _tests += 1


def typechecker(signature: Callable) -> Callable:
    """Check what a function of this signature is given or returns, in its first calls of a test."""
    checked = beartype(conf=_CONFIGURATION)(signature)
    test = calls = 0

    @functools.wraps(signature)
    def check(*args: Any, **kwargs: Any) -> Any:
        nonlocal test, calls
        if test != _tests:
            test, calls = _tests, 0
        if calls < CHECKED_CALLS:
            calls += 1
            return checked(*args, **kwargs)
        return None

    return check
