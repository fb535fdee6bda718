"""Draws in a region of their own, that a guide of one piece reaches only with its tail.

Seen from the middle of a guide that is right, the density falls in every direction: in the
coordinates of its noise it is a standard normal one. Where it falls and rises again on the way to a
draw, that draw belongs to another region. Chains cross such a dip seldom, and importance weights
rest on few draws there, so neither knows how much of the mass lies beyond.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from taut.diagnostics.finding import HARMLESS_MASS, Finding
from taut.diagnostics.regions import REFERENCE, Region
from taut.guides.guide import GaussianGuide, Guide, standard_log_prob
from taut.guides.triangular import TriangularFlow
from taut.objectives.matched_elbo import Batch, begin, parts_of

# So many of the farthest states are looked at, and some of the others, in so many steps. In higher
# dimension guides are of one piece, and their maps take longer than the density.
FARTHEST, OTHERS, STEPS, MOST_DIM = 256, 128, 16, 256

# Nats of a dip that count; and how far below all others a density of zero is put.
LEAST_DIP, NOTHING = 1.0, 1e3

# One chain alone may have strayed where a flow bends by itself.
LEAST_CHAINS = 2


@dataclasses.dataclass(frozen=True)
class Beyond:
    """States beyond a dip of the density.

    Attributes:
        share: of all states, estimated from some of them; zero if all found are of one chain.
        rows: which states were found, counted through all rounds and chains.
    """

    share: float
    rows: Int[np.ndarray, " found"]


def beyond_a_dip(
    batch: Batch,
    guide: Guide,
    positions: Float[np.ndarray, "kept chains dim"],
) -> Beyond | None:
    """Find states that lie beyond a dip of the density, seen from a guide's middle.

    Args:
        batch: batched log density and gradient.
        guide: a Gaussian or a flow.
        positions: where chains that have settled walked: their states, or the noise that a flow
            makes them of.

    Returns:
        None for guides that may be of several pieces, and above 256 latent values.
    """
    seen = positions.reshape(-1, guide.dim)
    along = np.linspace(0.0, 1.0, STEPS + 1)[:, None, None]
    if guide.dim > MOST_DIM:
        return None
    if isinstance(guide, TriangularFlow):
        rows, shares = _chosen(standard_log_prob(seen))
        noise = (along * seen[rows]).reshape(-1, guide.dim)
        results, log_dets = [], []
        for part in parts_of(batch, len(noise)):
            layers = guide.layers(noise[part])
            results.append(begin(batch, guide.place(layers)))
            log_dets.append(guide.log_det_of(layers))
        values = np.concatenate([each()[0] for each in results]) + np.concatenate(log_dets)
    elif isinstance(guide, GaussianGuide):
        # In straight lines, as its noise, with a Jacobian that is the same everywhere.
        (rows, shares), middle = _chosen(guide.log_prob(seen)), guide.mean()
        values = batch((middle + along * (seen[rows] - middle)).reshape(-1, guide.dim))[0]
    else:
        return None
    known = np.isfinite(values)
    if not known.any():
        return None
    values = np.where(known, values, values[known].min() - NOTHING).reshape(STEPS + 1, -1)
    beyond = (values - np.minimum.accumulate(values, axis=0)).max(axis=0) > LEAST_DIP
    chains = len(np.unique(rows[beyond] % positions.shape[1]))
    share = float(shares[beyond].sum()) if chains >= LEAST_CHAINS else 0.0
    return Beyond(share, rows[beyond])


def dip_finding(beyond: float, region: Region | None) -> Finding:
    """Draws in a region of their own, which the guide reaches with its tail only."""
    if region is not None and region.known:
        share, error = region.mass
        text = (
            f"{100 * beyond:.2g} % of the draws lie beyond a dip of the density, as many as there "
            f"should be: {100 * region.drawn:.2g} % of them are around there, and by importance "
            f"sampling {100 * share:.2g} ± {100 * error:.1g} % of the mass."
        )
        off = abs(share - region.drawn) + error
        return Finding("dip", off, HARMLESS_MASS, "good", text, "", REFERENCE)
    text = (
        f"{100 * beyond:.3g} % of the draws lie beyond a dip of the density, in a region that the "
        "guide reaches with its tail only and chains seldom: how much mass is there is not known."
    )
    advice = "compare with a NUTS run, or fit each region by itself"
    return Finding("dip", beyond, 0.0, "doubt", text, advice)


def _chosen(log_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose states by their density under the guide; return also what share each stands for."""
    order = np.argsort(log_prob, kind="stable")
    order = order[np.isfinite(log_prob[order])]
    far, rest = order[:FARTHEST], order[FARTHEST:]
    some = rest[np.linspace(0, len(rest) - 1, min(OTHERS, len(rest))).astype(int)]
    each = [np.ones(len(far)), np.full(len(some), len(rest) / max(len(some), 1))]
    return np.concatenate([far, some]), np.concatenate(each) / len(log_prob)
