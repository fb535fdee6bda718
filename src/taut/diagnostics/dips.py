"""Draws in a region of their own, that a guide of one piece reaches only with its tail.

Seen from the middle of a guide that is right, the density falls in every direction: in the
coordinates of its noise it is a standard normal one. Where it falls and rises again on the way to a
draw, that draw belongs to another region. Chains cross such a dip seldom, and importance weights
rest on few draws there, so neither knows how much of the mass lies beyond.
"""

import numpy as np
from jaxtyping import Float

from taut.diagnostics.finding import Finding
from taut.guides.guide import GaussianGuide, Guide, standard_log_prob
from taut.guides.triangular import TriangularFlow
from taut.objectives.matched_elbo import Batch

# The farthest states are looked at, in so many steps; and nats of a dip that count. In higher
# dimension guides are of one piece, and their maps take longer than the density.
MOST_LOOKED, STEPS, MOST_DIM = 256, 16, 256
LEAST_DIP = 1.0

# One chain alone may have strayed where a flow bends by itself.
LEAST_CHAINS = 2


def beyond_a_dip(
    batch: Batch, guide: Guide, states: Float[np.ndarray, "kept chains dim"]
) -> float | None:
    """Return the share of states that lie beyond a dip of the density, seen from a guide's middle.

    Args:
        batch: batched log density and gradient.
        guide: a Gaussian or a flow.
        states: of chains that have settled.

    Returns:
        The share, zero if they are all of one chain; None for guides that may be of several pieces,
        and above 256 latent values.
    """
    z = states.reshape(-1, guide.dim)
    along = np.linspace(0.0, 1.0, STEPS + 1)[:, None, None]
    if guide.dim > MOST_DIM:
        return None
    if isinstance(guide, TriangularFlow):
        with np.errstate(over="ignore", invalid="ignore"):
            noise = guide.inverse(z)
        far = _lowest(standard_log_prob(noise))
        path = (along * noise[far]).reshape(-1, guide.dim)
        values = batch(guide.transform(path))[0] + guide.log_det(path)
    elif isinstance(guide, GaussianGuide):
        # In straight lines, as its noise, with a Jacobian that is the same everywhere.
        far, middle = _lowest(guide.log_prob(z)), guide.mean()
        values = batch((middle + along * (z[far] - middle)).reshape(-1, guide.dim))[0]
    else:
        return None
    values = values.reshape(STEPS + 1, -1)
    rises = (values - np.minimum.accumulate(values, axis=0)).max(axis=0)
    beyond = far[rises > LEAST_DIP]
    chains = len(np.unique(beyond % states.shape[1]))
    return len(beyond) / len(z) if chains >= LEAST_CHAINS else 0.0


def dip_finding(beyond: float) -> Finding:
    """Draws in a region of their own, which the guide reaches with its tail only."""
    text = (
        f"{100 * beyond:.2g} % of the draws lie beyond a dip of the density, in a region that the "
        "guide reaches with its tail only and chains seldom: how much mass is there is not known."
    )
    advice = "compare with a NUTS run, or fit each region by itself"
    return Finding("dip", beyond, 0.0, "doubt", text, advice)


def _lowest(log_prob: np.ndarray) -> np.ndarray:
    """Indices of the lowest, those left out that are not finite."""
    order = np.argsort(log_prob, kind="stable")
    return order[np.isfinite(log_prob[order])][:MOST_LOOKED]
