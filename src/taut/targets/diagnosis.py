"""Which site makes a log density infinite or NaN, and at which value."""

from typing import Any

import jax
import numpy as np

from taut._core.errors import first_few
from taut.targets.site_log_prob import site_log_prob


def explain_sites(trace: dict) -> list[str]:
    """Return a sentence for each site of a concrete trace whose log probability is not finite."""
    sentences = []
    for name, site in trace.items():
        if site["type"] != "sample":
            continue
        log_prob = np.atleast_1d(np.asarray(site_log_prob(site)))
        bad = np.argwhere(~np.isfinite(log_prob))
        if len(bad) == 0:
            sentences += _outside(name, site)
            continue
        kind = "observed site" if site["is_observed"] else "site"
        if type(site["fn"]).__name__ == "Unit":
            kind = "factor"
        where = first_few([tuple(int(i) for i in row) for row in bad], 3)
        value = _pick(site["value"], bad[0], log_prob.shape)
        sentences.append(
            f"{kind} {name!r}: log probability {log_prob[tuple(bad[0])]} in {len(bad)} of "
            f"{log_prob.size} entries (first at {where})"
            + ("" if kind == "factor" else f"; value there {value}")
            + _arguments(site["fn"], bad[0], log_prob.shape)
        )
    return sentences


def _outside(name: str, site: dict) -> list[str]:
    """Say which data lie outside a support, which log p may not show."""
    fn, value = site["fn"], np.asarray(site["value"])
    if not site["is_observed"] or site["intermediates"] or _masked(fn):
        return []
    inside = np.atleast_1d(np.asarray(fn.support(value)))
    bad = np.argwhere(~inside)
    if len(bad) == 0:
        return []
    where = first_few([tuple(int(i) for i in row) for row in bad], 3)
    return [
        f"observed site {name!r}: {len(bad)} of {inside.size} data lie outside the support of its "
        f"distribution there (first at {where}); value there "
        f"{_pick(value, bad[0], inside.shape)}{_arguments(fn, bad[0], inside.shape)}"
    ]


def _masked(fn: Any) -> bool:
    while fn is not None and type(fn).__name__ != "MaskedDistribution":
        fn = getattr(fn, "base_dist", None)
    return fn is not None


def _arguments(fn: Any, index: np.ndarray, shape: tuple[int, ...]) -> str:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    parts = []
    for name in getattr(fn, "arg_constraints", {}):
        value = fn.__dict__.get(name)
        if isinstance(value, (float, int, np.ndarray, jax.Array)):
            parts.append(f"{name} {_pick(value, index, shape)}")
    return f", {type(fn).__name__} with {', '.join(parts)}" if parts else ""


def _pick(value: Any, index: np.ndarray, shape: tuple[int, ...]) -> str:
    array = np.asarray(value)
    try:
        array = np.broadcast_to(array, shape)[tuple(index)]
    except ValueError:
        array = array.reshape(-1)[:4]
    return f"{float(array):.6g}" if np.ndim(array) == 0 else str(array)
