"""The mass of a region that chains have found is weighed, and held against the draws there."""

import numpy as np
import pytest
import scipy.stats
from batches import mixture
from seeds import EACH_SEED

from taut.diagnostics.psis import importance_weights
from taut.diagnostics.regions import FREEDOM, Region, _StudentT, weigh_region
from taut.guides.full_rank import FullRankNormal
from taut.guides.triangular import TriangularFlow
from taut.posterior.draws import Draws

DIM, CHAINS, KEPT, MASS = 3, 256, 16, 0.1
AWAY = np.array([7.0, 0.0, 0.0])
TWO = mixture([np.zeros(DIM), AWAY], [1.0 - MASS, MASS])
ROUND = FullRankNormal(np.zeros(DIM), np.eye(DIM))


def _weighed(seed, guide=ROUND):
    z, log_q = guide.draw(4096, np.random.default_rng(100 + seed))
    return Draws(z, TWO(z)[0], log_q)


def _region(seed, far, guide=ROUND, weights=None):
    """Weigh the second mode, in which so many of the chains are."""
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((KEPT, CHAINS, DIM))
    states[:, :far] += AWAY
    beyond = states[:, :far].reshape(-1, DIM)
    return weigh_region(
        TWO, guide, _weighed(seed, guide), states.reshape(-1, DIM), beyond, weights, rng
    )


@EACH_SEED
@pytest.mark.parametrize("kind", ["full-rank", "flow"])
def test_the_mass_of_a_second_mode_is_found(kind, seed, within_error):
    guide = ROUND if kind == "full-rank" else TriangularFlow.around(ROUND)
    # As few chains as are ever looked at, and as many as should be there.
    for far in (2, round(MASS * CHAINS)):
        region = _region(seed, far, guide)
        within_error(region.mass[0], MASS, region.mass[1])
        assert region.mass[1] < 0.01
        # The region ends 2.6 sds or more from either mode: so many are counted on the wrong side.
        assert region.drawn == pytest.approx(far / CHAINS, abs=scipy.stats.norm.sf(2.6))
        assert region.known == (far > 2)


@EACH_SEED
def test_draws_that_are_returned_by_their_weights_are_counted_by_them(seed):
    weights = importance_weights(_weighed(seed).log_ratios)
    region = _region(seed, round(MASS * CHAINS), weights=weights)
    assert region.drawn < 1e-3
    assert not region.known


def test_what_cannot_be_relied_on_is_not_known():
    assert Region((0.02, 0.001), 0.02, sound=True).known
    assert not Region((0.02, 0.001), 0.02, sound=False).known
    assert not Region((0.02, 0.02), 0.02, sound=True).known


def test_draws_around_states_have_their_density(within_error):
    rng = np.random.default_rng(0)
    scale = np.cov(rng.standard_normal((DIM, 10)))
    local = _StudentT(AWAY, scale)
    z = local.draw(20_000, rng)
    exact = scipy.stats.multivariate_t(AWAY, scale, df=FREEDOM)
    np.testing.assert_allclose(local.log_prob(z), exact.logpdf(z), rtol=1e-6)
    within_error(z.mean(axis=0), AWAY, z.std(axis=0) / np.sqrt(len(z)))
    # Squared distances are F-distributed, of a known mean.
    squared = local.squared(z) / DIM
    within_error(squared.mean(), FREEDOM / (FREEDOM - 2.0), squared.std() / np.sqrt(len(z)))
