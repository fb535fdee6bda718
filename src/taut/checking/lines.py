"""The lines to write: sample statements that a guide could make."""

import numpy as np

from taut.checking.reading import Site

Bounds = tuple[float, float] | None


def constraint_line(support: str, bounds: Bounds = None) -> str:
    """A constraint as one writes it, such as 'dist.constraints.interval(0, 10)'."""
    if support in ("interval", "open_interval") and bounds is not None:
        low, high = bounds
        return f"dist.constraints.interval({low:g}, {high:g})"
    if support == "interval":
        return "dist.constraints.interval(low, high)"
    if support.startswith("greater_than"):
        low = "low" if bounds is None else f"{bounds[0]:g}"
        return f"dist.constraints.greater_than({low})"
    if support.startswith("less_than"):
        high = "high" if bounds is None else f"{bounds[1]:g}"
        return f"dist.constraints.less_than({high})"
    return f"dist.constraints.{support}"


def sample_line(site: Site, bounds: Bounds = None) -> str:
    """A sample statement for a guide that has the support of a model's site."""
    return f"numpyro.sample({site.name!r}, {_distribution(site, bounds)})"


def _distribution(site: Site, bounds: Bounds) -> str:
    events = f".to_event({site.event_dim})" if site.event_dim else ""
    normal = f"dist.Normal(loc, scale){events}"
    if site.support == "real" or (bounds is not None and not np.isfinite(bounds).any()):
        return normal
    if site.support == "positive" and not site.event_dim:
        return "dist.LogNormal(loc, scale)"
    if site.support == "circular" and not site.event_dim:
        return "dist.VonMises(loc, concentration)"
    return f"taut.guides.on_support({normal}, {constraint_line(site.support, bounds)})"
