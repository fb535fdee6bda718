"""Draws beyond a dip of the density are found, and nothing is found where there is none."""

import numpy as np
import pytest
from batches import covariance, gaussian, mixture
from seeds import EACH_SEED

from taut.diagnostics.dips import FARTHEST, LEAST_CHAINS, MOST_DIM, OTHERS, STEPS, beyond_a_dip
from taut.guides.full_rank import FullRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.mixture_normal import MixtureNormal
from taut.guides.triangular import TriangularFlow

DIM, CHAINS, KEPT = 3, 64, 8
AWAY = np.array([7.0, 0.0, 0.0])
TWO = mixture([np.zeros(DIM), AWAY], [0.9, 0.1])
ROUND = FullRankNormal(np.zeros(DIM), np.eye(DIM))


def _states(seed, far):
    """Chains that stay where they are, so many of them in the second mode."""
    states = np.random.default_rng(seed).standard_normal((KEPT, CHAINS, DIM))
    states[:, :far] += AWAY
    return states


@EACH_SEED
@pytest.mark.parametrize("kind", ["full-rank", "mean-field", "flow"])
def test_the_share_of_a_second_mode_is_told(kind, seed):
    guides = {
        "full-rank": ROUND,
        "mean-field": MeanFieldNormal(np.zeros(DIM), np.ones(DIM)),
        "flow": TriangularFlow.around(ROUND),
    }
    states = _states(seed, 6)
    # The flow is the standard normal itself, whose noise its states are.
    found = beyond_a_dip(TWO, guides[kind], states).share
    # One in a hundred is not counted, 2.3 sd before its mode, where the rise is less than a nat.
    assert 0.9 * 6 / CHAINS < found <= 6 / CHAINS


@EACH_SEED
def test_a_gaussian_has_no_dips(seed):
    rng = np.random.default_rng(seed)
    mean, cov = rng.normal(size=DIM), covariance(DIM, rng)
    root = np.linalg.cholesky(cov)
    states = mean + rng.standard_normal((KEPT, CHAINS, DIM)) @ root.T
    # However far off the guide is: straight lines to draws of it never rise again by a nat.
    for scale in (0.3, 1.0, 3.0):
        guide = FullRankNormal(mean, scale * root)
        assert beyond_a_dip(gaussian(mean, cov), guide, states).share == 0.0


@EACH_SEED
def test_a_share_larger_than_what_is_looked_at_is_estimated(seed, within_error):
    share = 0.3
    states = np.random.default_rng(seed).standard_normal((16, 256, DIM))
    states[:, : round(share * 256)] += AWAY
    found = beyond_a_dip(TWO, ROUND, states).share
    # The others are a sample; the farthest sixteenth is counted in full.
    within_error(found, round(share * 256) / 256, 0.5 / np.sqrt(OTHERS))


def test_nothing_at_all_between_two_modes_is_a_dip():
    def split(z):
        values, gradients = TWO(z)
        empty = np.abs(z[:, 0] - 3.5) < 1.5
        return np.where(empty, -np.inf, values), np.where(empty[:, None], 0.0, gradients)

    states = _states(0, 6)
    assert beyond_a_dip(split, ROUND, states).share > 0.8 * 6 / CHAINS


def test_one_chain_that_strays_is_no_region():
    one, enough = _states(0, LEAST_CHAINS - 1), _states(0, LEAST_CHAINS)
    assert beyond_a_dip(TWO, ROUND, one).share == 0.0
    found = beyond_a_dip(TWO, ROUND, enough)
    assert found.share > 0.0
    assert (enough.reshape(-1, DIM)[found.rows, 0] > 2.0).all()


def test_the_cost_does_not_grow_with_the_states():
    seen = []

    def counted(z):
        seen.append(len(z))
        return TWO(z)

    for times in (1, 20):
        states = np.tile(_states(0, 6), (times, 1, 1))
        beyond_a_dip(counted, ROUND, states)
    assert sum(seen) == 2 * (FARTHEST + OTHERS) * (STEPS + 1)


def test_guides_of_several_pieces_and_many_dimensions_are_left():
    two = MixtureNormal(
        np.array([0.9, 0.1]), np.array([np.zeros(DIM), AWAY]), np.array([np.eye(DIM)] * 2)
    )
    states, empty = _states(0, 6), np.zeros((1, 2, MOST_DIM + 1))
    assert beyond_a_dip(TWO, two, states) is None
    wide = MeanFieldNormal(np.zeros(MOST_DIM + 1), np.ones(MOST_DIM + 1))
    assert beyond_a_dip(TWO, wide, empty) is None
