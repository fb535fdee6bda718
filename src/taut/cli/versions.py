"""The versions that decide a fit's numbers."""

import platform
from importlib.metadata import version

import taut

_LIBRARIES = ("jax", "jaxlib", "numpyro", "numpy", "scipy")


def all_versions() -> dict[str, str]:
    """Return the versions of Taut, of Python and of the libraries underneath."""
    ours = {"taut": taut.__version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in _LIBRARIES}
