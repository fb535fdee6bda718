"""More posterior draws than were kept, made the way those were."""

import numpy as np

from taut._core.resampling import resample
from taut._core.threads import single_blas_thread
from taut.diagnostics.psis import smooth
from taut.diagnostics.short_hmc import continue_chains
from taut.diagnostics.walk import FULL
from taut.guides.guide import Guide
from taut.objectives.matched_elbo import Batch
from taut.posterior.pool import Pool

# Draws of the guide for each one that is kept of them by its weight.
DRAWN_FOR_ONE = 4


def more_draws(
    pool: Pool, guide: Guide, batch: Batch, wanted: int, rng: np.random.Generator
) -> np.ndarray:
    """Return `wanted` latent vectors beyond a pool's, (wanted, dim).

    Args:
        pool: the draws there are.
        guide: what they were drawn from, or their chains started from.
        batch: batched log density and gradient.
        wanted: how many draws are needed.
        rng: source of noise.
    """
    with single_blas_thread():
        if pool.source == "chains":
            states = pool.z.reshape(-1, pool.chains, guide.dim)
            return continue_chains(batch, guide, states, wanted, rng)
        count = wanted if pool.source == "guide" else DRAWN_FOR_ONE * wanted
        z, log_q = guide.draw(count, rng)
        if pool.source == "guide":
            return z
        log_p, _ = batch(z)
        log_weights, _ = smooth(log_p - log_q)
        return z[resample(log_weights, wanted, rng)]


def gradients_for(pool: Pool, wanted: int) -> float:
    """Return about how many gradients `more_draws` takes."""
    if pool.source == "chains":
        return wanted * FULL.iterations * FULL.leapfrog / FULL.kept
    return float(DRAWN_FOR_ONE * wanted) if pool.source == "weights" else 0.0
