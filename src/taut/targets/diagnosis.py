"""Which site makes a log density infinite or NaN, and at which value."""

from typing import Any

import jax
import numpy as np

from taut._core.errors import first_few
from taut.targets.site_log_prob import is_masked, site_log_prob

HOLD_THE_DATA = (
    "mend them, or, where a latent sets the support (the search begins with latents of order one), "
    'let it hold all data from the start, as in top = numpyro.sample("top", '
    "dist.TruncatedNormal(0.0, 1000.0, low=y.max()))"
)


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
        sentences.append(
            f"{kind} {name!r}: log probability {log_prob[tuple(bad[0])]} in {len(bad)} of "
            f"{log_prob.size} entries {_there(site, bad, log_prob.shape)}"
        )
    return sentences


def _outside(name: str, site: dict) -> list[str]:
    """Say which data lie outside a support, which log p may not show."""
    fn = site["fn"]
    if not site["is_observed"] or site["intermediates"] or is_masked(fn):
        return []
    inside = np.atleast_1d(np.asarray(fn.support(np.asarray(site["value"]))))
    bad = np.argwhere(~inside)
    if len(bad) == 0:
        return []
    return [
        f"observed site {name!r}: {len(bad)} of {inside.size} data lie outside the support of its "
        f"distribution there {_there(site, bad, inside.shape)}; {HOLD_THE_DATA}"
    ]


def _there(site: dict, bad: np.ndarray, shape: tuple[int, ...]) -> str:
    """Say where the first bad entries of a site are, and what the first of them is."""
    fn, where = site["fn"], first_few([tuple(int(i) for i in row) for row in bad], 3)
    value = f"; value there {_pick(site['value'], bad[0], shape)}"
    is_factor = type(fn).__name__ == "Unit"
    return f"(first at {where}){'' if is_factor else value}{_arguments(fn, bad[0], shape)}"


def _arguments(fn: Any, index: np.ndarray, shape: tuple[int, ...]) -> str:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    # Of a mixture of unlike distributions only these have arguments that may be wrong.
    components = getattr(fn, "component_distributions", None)
    if components is not None:
        return "".join(_arguments(component, index, shape) for component in components)
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
