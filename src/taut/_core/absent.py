"""Names that a user may look for in a module and that are not there on purpose."""

from collections.abc import Callable, Mapping
from typing import Any


def absent(module: str, advice: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's `__getattr__`, which says what to do without some names.

    Args:
        module: the module's name.
        advice: by the name that is not there.
    """

    def look_up(name: str) -> Any:
        if name in advice:
            # An AttributeError would become "cannot import name", without the reason.
            raise ImportError(advice[name])
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return look_up
