"""Options of XLA, which come and go with its versions."""

import functools
from collections.abc import Callable
from typing import Any

import jax


def known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the installed XLA knows; it refuses to compile with any other."""
    return {name: value for name, value in options.items() if _known(name, value)}


def run_once(function: Callable) -> Callable:
    """Return a function compiled for being run once, which is not worth optimising for."""
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    on_cpu = jax.default_backend() == "cpu"
    return jax.jit(function, compiler_options=known_options(options) if on_cpu else None)


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
