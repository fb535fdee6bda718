"""More posterior draws than a fit has stored, made the way the stored ones were."""

import numpy as np

from taut._core.resampling import resample
from taut._core.threads import single_blas_thread
from taut.diagnostics.psis import smooth
from taut.diagnostics.short_hmc import continue_chains
from taut.results.record import Record
from taut.targets.oracle import Oracle


def more_draws(record: Record, oracle: Oracle, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Return `wanted` latent vectors beyond the pool's, (wanted, dim)."""
    pool, guide = record.pool, record.guide
    with single_blas_thread():
        if pool.source == "chains":
            states = pool.z.reshape(-1, pool.chains, guide.dim)
            return continue_chains(oracle, guide, states, wanted, rng)
        count = wanted if pool.source == "guide" else 4 * wanted
        z, log_q = guide.draw(count, rng)
        if pool.source == "guide":
            return z
        log_p, _ = oracle(z)
        log_weights, _ = smooth(log_p - log_q)
        return z[resample(log_weights, wanted, rng)]
