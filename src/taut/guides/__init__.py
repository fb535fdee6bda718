"""Guides: the distributions that are fitted to a posterior, and the pieces to write one with."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taut.guides.pieces.energy import energy
    from taut.guides.pieces.joint import conditional, independent
    from taut.guides.pieces.mixture import mixture
    from taut.guides.pieces.on_support import on_support
    from taut.guides.pieces.transformed import transformed

_HOMES = {
    "conditional": "taut.guides.pieces.joint",
    "energy": "taut.guides.pieces.energy",
    "independent": "taut.guides.pieces.joint",
    "mixture": "taut.guides.pieces.mixture",
    "on_support": "taut.guides.pieces.on_support",
    "transformed": "taut.guides.pieces.transformed",
}

__all__ = ["conditional", "energy", "independent", "mixture", "on_support", "transformed"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'taut.guides' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
