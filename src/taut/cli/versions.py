"""The versions that decide a fit's numbers."""

from taut._core.versions import versions_of

_LIBRARIES = ("taut", "jax", "jaxlib", "numpyro", "numpy", "scipy")


def all_versions() -> dict[str, str]:
    """Return the versions of Taut, of Python and of the libraries underneath."""
    return versions_of(_LIBRARIES)
