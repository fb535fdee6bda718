"""Constraints and counts in words."""

from typing import Any

import numpy as np

Bounds = tuple[float, float] | None


def constraint_line(support: str, bounds: Bounds = None) -> str:
    """A constraint as one writes it, such as 'dist.constraints.interval(0, 10)'."""
    if support in ("interval", "open_interval") and bounds is not None:
        low, high = bounds
        return f"dist.constraints.interval({low:g}, {high:g})"
    if support in ("interval", "open_interval"):
        return "dist.constraints.interval(low, high)"
    if support.startswith("greater_than"):
        low = "low" if bounds is None else f"{bounds[0]:g}"
        return f"dist.constraints.greater_than({low})"
    if support.startswith("less_than"):
        high = "high" if bounds is None else f"{bounds[1]:g}"
        return f"dist.constraints.less_than({high})"
    return f"dist.constraints.{support}"


def support_words(support: Any) -> str:
    """Name a constraint as NumPyro does: 'real', 'positive', 'interval'."""
    base = getattr(support, "base_constraint", support)
    words = type(base).__name__.lstrip("_")
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in words).lstrip("_")
    return "real" if snake == "dependent" else snake


def constraint_words(constraint: Any) -> str:
    """Say what a constraint asks for, with its bounds if they are numbers."""
    low, high = (getattr(constraint, f"{end}_bound", None) for end in ("lower", "upper"))
    bounds = [b for b in (low, high) if b is not None]
    words = support_words(constraint)
    if not bounds or words in ("positive", "nonnegative") or any(np.ndim(b) for b in bounds):
        return words
    if len(bounds) == 2:
        return f"between {low:g} and {high:g}"
    return f"above {low:g}" if high is None else f"below {high:g}"


def plural(count: int, noun: str) -> str:
    """Return '1 number' or '3 numbers'."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
