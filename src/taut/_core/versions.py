"""Versions of installed libraries."""

import functools
import platform
from collections.abc import Iterable
from importlib.metadata import version


def versions_of(libraries: Iterable[str]) -> dict[str, str]:
    """Return the versions of installed libraries, and of Python."""
    return {**{name: _version_of(name) for name in libraries}, "python": platform.python_version()}


@functools.cache
def _version_of(library: str) -> str:
    # To look one up takes a millisecond.
    return version(library)
