"""How much of the mass lies in a region of its own that chains have found.

Chains cross a dip of the density seldom, and a guide of one piece reaches beyond it with its tail
only, so neither says how much is there. But draws around the states found there can be had for
nothing, and weighed together with the guide's: each by the mixture that all of them come from.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from taut.diagnostics.finding import HARMLESS_MASS
from taut.diagnostics.psis import Weights, importance_weights
from taut.guides.full_rank import FullRankNormal
from taut.guides.guide import LOG_2PI, Guide
from taut.objectives.matched_elbo import Batch
from taut.posterior.draws import Draws

REFERENCE = (
    "Owen and Zhou (2000), Safe and effective importance sampling, JASA 95; Veach and Guibas (1995)"
)

# So many draws around the states beyond, of a Student t distribution so much wider than they are:
# they are few, of few chains.
DRAWS, WIDER, FREEDOM = 1024, 1.5, 5.0


@dataclasses.dataclass(frozen=True)
class Region:
    """The mass of a region, as weighed draws and as the draws to be returned have it.

    Attributes:
        mass: share of the mass there, and its standard error.
        drawn: share of the draws there.
        sound: the weights that say so can be relied on.
    """

    mass: tuple[float, float]
    drawn: float
    sound: bool

    @property
    def known(self) -> bool:
        """Whether the draws have as much there as they should, or nearly."""
        share, error = self.mass
        return self.sound and abs(share - self.drawn) + error < HARMLESS_MASS


def weigh_region(
    batch: Batch,
    guide: Guide,
    weighed: Draws,
    states: Float[np.ndarray, "states dim"],
    beyond: Float[np.ndarray, "found dim"],
    weights: Weights | None,
    rng: np.random.Generator,
) -> Region:
    """Weigh draws around states beyond a dip together with the guide's.

    The region is where those states, as a Student t distribution, are denser than all states are
    as a Gaussian.

    Args:
        batch: batched log density and gradient.
        guide: what the chains started from.
        weighed: draws of it.
        states: of the chains that settled.
        beyond: those of them that lie beyond a dip.
        weights: of the guide's draws, if they are what is returned; None if the states are.
        rng: source of noise.
    """
    dim = guide.dim
    everywhere = np.cov(states.T).reshape(dim, dim)
    # As many states more as there are dimensions, as wide as the posterior: few say little.
    few = dim / (len(beyond) + dim)
    there = (1.0 - few) * np.cov(beyond.T).reshape(dim, dim) + few * everywhere
    local = _StudentT(beyond.mean(axis=0), WIDER * there)
    around = local.draw(DRAWS, rng)
    with np.errstate(over="ignore", invalid="ignore"):
        log_q = np.append(weighed.log_q, guide.log_prob(around))
    log_p = np.append(weighed.log_p, batch(around)[0])
    z = np.concatenate([weighed.z, around])
    share, log_local = DRAWS / len(z), local.log_prob(z)
    # Where the guide's density overflows there is none of it.
    log_guide = np.log1p(-share) + np.nan_to_num(log_q, nan=-np.inf)
    ratios = log_p - np.logaddexp(log_guide, np.log(share) + log_local)
    main = _gaussian(states.mean(axis=0), everywhere)
    inside = log_local > main.log_prob(z)
    raw = np.exp(ratios - ratios.max())
    raw /= raw.sum()
    mass = float(raw[inside].sum())
    error = float(np.sqrt(((raw * (inside - mass)) ** 2).sum()))
    if weights is None:
        drawn = float((local.log_prob(states) > main.log_prob(states)).mean())
    else:
        drawn = float(np.exp(weights.log_weights[inside[: len(weighed.z)]]).sum())
    together = importance_weights(ratios)
    return Region((mass, error), drawn, together.k_hat <= together.k_threshold)


def _gaussian(mean: np.ndarray, covariance: np.ndarray) -> FullRankNormal:
    variances = np.diag(covariance)
    # Coordinates may differ in scale as they like, or not move at all.
    jitter = np.diag(1e-9 * np.where(variances > 0.0, variances, 1.0))
    return FullRankNormal(mean, np.linalg.cholesky(covariance + jitter))


class _StudentT:
    """A Student t distribution of a location (dim,) and a squared scale (dim, dim)."""

    def __init__(self, location: np.ndarray, scale: np.ndarray):
        self._normal = _gaussian(location, scale)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return draws (count, dim)."""
        noise = rng.standard_normal((count, self._normal.dim))
        stretch = np.sqrt(FREEDOM / rng.chisquare(FREEDOM, count))
        return self._normal.transform(stretch[:, None] * noise)

    def squared(self, z: np.ndarray) -> np.ndarray:
        """Return squared distances from the location, in its own units (n,)."""
        return self._normal.dim - 2.0 * (self._normal.log_prob(z) + self._normal.entropy())

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Return log densities (n,) of points (n, dim)."""
        dim = self._normal.dim
        log_det = self._normal.entropy() - 0.5 * dim * (1.0 + LOG_2PI)
        whole = math.lgamma(0.5 * (FREEDOM + dim)) - math.lgamma(0.5 * FREEDOM)
        whole -= 0.5 * dim * math.log(FREEDOM * math.pi) + log_det
        return whole - 0.5 * (FREEDOM + dim) * np.log1p(self.squared(z) / FREEDOM)
