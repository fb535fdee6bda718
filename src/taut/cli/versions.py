"""The versions a result depends on."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("taut", "jax", "jaxlib", "numpyro", "numpy", "scipy")


def version_of(package: str) -> str:
    """Return a package's version, or a word for a source tree that was never installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def all_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a fit's numbers."""
    return {"python": platform.python_version()} | {name: version_of(name) for name in _PACKAGES}
