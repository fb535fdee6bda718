"""Options of XLA, which come and go with its versions."""

import functools
from typing import Any

import jax

# What is run once is not worth optimising.
ONCE: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
}

# What is run by the thousand, on small arrays. XLA's full optimisation takes up to three times
# longer to compile, for code that is no faster there.
OFTEN: dict[str, Any] = {
    "xla_backend_optimization_level": 1,
    "xla_cpu_use_fusion_emitters": False,
    # Modules that LLVM gets the program in; each has a cost of its own. XLA's 32 suit large ones.
    "xla_cpu_parallel_codegen_split_count": 4,
}

# Vectors wider than 128 bits pay only where calls are long; they take longer to compile.
OFTEN_AND_SHORT: dict[str, Any] = {**OFTEN, "xla_cpu_prefer_vector_width": 128}

# Where arrays are large, full optimisation takes a quarter off the time to run.
OFTEN_ON_LARGE: dict[str, Any] = {}


def known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the installed XLA knows; it refuses to compile with any other."""
    return {name: value for name, value in options.items() if _known(name, value)}


def cpu_options(options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the known ones of options for CPUs, or None where the backend is another one."""
    return known_options(options) if jax.default_backend() == "cpu" else None


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
