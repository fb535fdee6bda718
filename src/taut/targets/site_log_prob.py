"""The log probability of one traced sample site, without tests that cannot fail.

NumPyro's validation replaces a log probability by -inf outside the support. A latent value made by
a bijection to its support cannot lie outside, and where the support is all of R^n nothing finite
can; in a small model these tests are half of the operations to trace, compile and run.
"""

from collections.abc import Iterator
from typing import Any

import numpyro
from numpyro.distributions import constraints
from numpyro.distributions.distribution import (
    Distribution,
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
)

# Parts of a distribution whose density is not taken at the site's value, or only inside support.
_HARMLESS_PARTS = frozenset({"_mixing_distribution", "_dirichlet"})


def site_log_prob(site: dict) -> Any:
    """Return the log probability of a traced sample site, scaled as the model says."""
    if site["intermediates"]:
        log_prob = site["fn"].log_prob(site["value"], site["intermediates"])
    else:
        log_prob = site["fn"].log_prob(site["value"])
    return log_prob if site["scale"] is None else site["scale"] * log_prob


def site_log_prob_inside(site: dict) -> Any:
    """Return the same of a site whose latent value lies inside its support by construction.

    Observed values are tested against their support, unless that is all of R^n.
    """
    fn = unwrapped(site["fn"])
    inside = not site["is_observed"] or is_real(fn.support)
    if not inside or not _parts_real(fn):
        return site_log_prob(site)
    with numpyro.validation_enabled(False):
        return site_log_prob(site)


def is_real(support: Any) -> bool:
    """Whether a support is all of R^n, so that its bijection is the identity."""
    base = getattr(support, "base_constraint", support)
    return base is constraints.real


def _parts_real(fn: Distribution) -> bool:
    return all(is_real(part.support) and _parts_real(part) for part in map(unwrapped, _parts(fn)))


def _parts(fn: Distribution) -> Iterator[Distribution]:
    for name, value in vars(fn).items():
        if name in _HARMLESS_PARTS:
            continue
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, Distribution):
                yield item


def is_masked(fn: Any) -> bool:
    """Whether a mask leaves some values of a distribution, or of one it wraps, uncounted."""
    while fn is not None:
        if isinstance(fn, MaskedDistribution) and fn._mask is not True:
            return True
        fn = getattr(fn, "base_dist", None)
    return False


def unwrapped(fn: Any) -> Any:
    """Return the distribution underneath what expands it, masks it or joins its values."""
    while isinstance(fn, (ExpandedDistribution, Independent, MaskedDistribution)):
        fn = fn.base_dist
    return fn
