"""More posterior draws than were kept, made the way those were."""

import math

import numpy as np

from taut._core.resampling import resample
from taut._core.threads import single_blas_thread
from taut.diagnostics.psis import smooth
from taut.diagnostics.short_hmc import continue_chains, gradients_to_continue
from taut.guides.guide import Guide
from taut.objectives.matched_elbo import Batch
from taut.posterior.pool import Pool

# Draws of the guide for each one that is kept of them by its weight: as many as are worth half as
# many again, so that few are kept twice; but no more than these.
WORTH, MOST_DRAWN = 1.5, 4.0


def more_draws(
    pool: Pool, guide: Guide, batch: Batch, wanted: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return latent vectors beyond a pool's, at least `wanted` (n, dim), and log p of each (n,).

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
        weighed = pool.source == "weights"
        z, log_q = guide.draw(_drawn(pool, wanted) if weighed else wanted, rng)
        log_p, _ = batch(z)
        if not weighed:
            return z, log_p
        log_weights, _ = smooth(log_p - log_q)
        rows = resample(log_weights, wanted, rng)
        return z[rows], log_p[rows]


def gradients_for(pool: Pool, wanted: int) -> int:
    """Return how many gradients `more_draws` takes."""
    if pool.source == "chains":
        return gradients_to_continue(pool.chains, wanted)
    return _drawn(pool, wanted) if pool.source == "weights" else wanted


def _drawn(pool: Pool, wanted: int) -> int:
    return math.ceil(wanted * min(MOST_DRAWN, WORTH * len(pool) / pool.chains))
