"""Options of XLA, which come and go with its versions."""

import functools
from typing import Any

import jax


def known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the installed XLA knows; it refuses to compile with any other."""
    return {name: value for name, value in options.items() if _known(name, value)}


@functools.cache
def _known(name: str, value: Any) -> bool:
    # The oldest JAX allowed has all of them, and a try takes some milliseconds.
    if jax.__version_info__ < (0, 10):
        return True
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options={name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True
