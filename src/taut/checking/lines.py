"""The lines to write: sample statements that a guide could make."""

import numpy as np
from numpyro.distributions import biject_to, constraints

from taut.checking.reading import Site
from taut.checking.words import Bounds, constraint_line

_DISCRETE = {
    "boolean": "dist.Bernoulli(probs)",
    "integer_interval": "dist.Categorical(probs)",
    "nonnegative_integer": "dist.Poisson(rate)",
}


def sample_line(site: Site, bounds: Bounds = None) -> str:
    """A sample statement for a guide that has the support of a model's site."""
    shape = _base(site)[1]
    of_shape = "" if shape == site.shape else f" with loc of shape {shape}"
    return f"numpyro.sample({site.name!r}, {_distribution(site, bounds)}){of_shape}"


def _distribution(site: Site, bounds: Bounds) -> str:
    if site.discrete:
        return _DISCRETE.get(site.support, f"dist.{site.family}(...)")
    normal = _base(site)[0]
    if site.support == "real" or (bounds is not None and not np.isfinite(bounds).any()):
        return normal
    if site.support == "positive" and not site.event_dim:
        return "dist.LogNormal(loc, scale)"
    if site.support == "circular" and not site.event_dim:
        return "dist.VonMises(loc, concentration)"
    line = constraint_line(site.support, bounds)
    line += f"({site.event_dim})" if site.support == "zero_sum" else ""
    return f"taut.guides.on_support({normal}, {line})"


def _base(site: Site) -> tuple[str, tuple[int, ...]]:
    """A normal distribution of the numbers that are free on a site's support, and their shape."""
    events, shape = site.event_dim, site.shape
    support = getattr(constraints, site.support, None)
    support = support(events) if support is constraints.zero_sum else support
    if events and isinstance(support, constraints.Constraint):
        transform = biject_to(support)
        shape = tuple(transform.inverse_shape(shape))
        events += transform.domain.event_dim - support.event_dim
    return f"dist.Normal(loc, scale){f'.to_event({events})' if events else ''}", shape
