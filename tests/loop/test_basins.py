"""Which starts led to different solutions."""

import numpy as np
from batches import covariance, gaussian, mixture
from seeds import EACH_SEED

from taut.guides.full_rank import FullRankNormal
from taut.loop.basins import MOST_BASINS, apart, separated, settle_basins
from taut.loop.monitor import Monitor
from taut.loop.progress import Progress
from taut.loop.stages import GaussianFit
from taut.loop.starts import Candidate
from taut.objectives.full_rank import FullRankFamily

DIM = 2


def _unit(*loc):
    return FullRankNormal(np.array(loc, float), np.eye(len(loc)))


def _settle(batch, guides, seed=0, known=()):
    monitor = Monitor(batch, Progress(False))
    rng = np.random.default_rng(seed)
    fit = GaussianFit(FullRankFamily(), monitor, rng, 1e-15, 0.01)
    candidates = [Candidate(path, 0.0, guide) for path, guide in enumerate(guides)]
    return settle_basins(fit, monitor, candidates, 32, known)


def test_apart_means_outside_each_other():
    limit = np.sqrt(9.0 + 2.0 * DIM)
    origin = _unit(0.0, 0.0)
    assert apart(origin, _unit(1.01 * limit, 0.0))
    assert not apart(origin, _unit(0.99 * limit, 0.0))
    # One is far out for the other, but not the other way round.
    wide = FullRankNormal(np.array([10.0, 0.0]), 10.0 * np.eye(DIM))
    assert not apart(origin, wide)
    assert not apart(wide, origin)


def test_separated_means_a_dip_between():
    ends = _unit(-5.0, 0.0), _unit(5.0, 0.0)
    two = mixture([np.array([-5.0, 0.0]), np.array([5.0, 0.0])], [0.5, 0.5])
    ridge = gaussian(np.zeros(DIM), np.diag([100.0, 1.0]))
    assert separated(two, *ends)
    assert not separated(ridge, *ends)
    assert not separated(two, ends[0], _unit(-4.0, 0.0))


@EACH_SEED
def test_two_modes_are_two_solutions_with_their_shares(seed, same_to_rounding):
    # So far apart that each mode is a Gaussian of its own, on which one step is exact.
    centres, shares = [np.full(DIM, -20.0), np.full(DIM, 20.0)], [0.3, 0.7]
    rng = np.random.default_rng([seed, 1])
    guides = [_unit(*(centre + rng.normal(size=DIM))) for centre in centres]
    found = _settle(mixture(centres, shares), guides, seed)
    settled = [basin.evaluation for basin in found]
    same_to_rounding([-e.loss for e in settled], np.log([0.7, 0.3]), condition=1000)
    same_to_rounding([e.guide.loc for e in settled], centres[::-1], condition=1000)
    assert [basin.hits for basin in found] == [1, 1]


def test_a_solution_of_negligible_mass_is_left_out():
    centres = [np.full(DIM, -20.0), np.full(DIM, 20.0)]
    guides = [_unit(*centre) for centre in centres]
    for share, count in ((np.exp(-8.5), 2), (np.exp(-9.5), 1)):
        assert len(_settle(mixture(centres, [1.0 - share, share]), guides)) == count


@EACH_SEED
def test_starts_that_meet_are_one_solution(seed):
    rng = np.random.default_rng([seed, 1])
    mean, cov = rng.normal(size=DIM), covariance(DIM, rng)
    guides = [_unit(*(mean + offset)) for offset in ([-30.0, 0.0], [30.0, 0.0], [0.0, 30.0])]
    assert len(_settle(gaussian(mean, cov), guides, seed)) == 1


def test_known_solutions_are_not_fitted_again_and_go_on_counting():
    centres = [np.full(DIM, -20.0), np.full(DIM, 20.0)]
    batch, guides = mixture(centres, [0.5, 0.5]), [_unit(*centre) for centre in centres]
    known = _settle(batch, guides[:1])
    (first, second) = _settle(batch, guides[::-1], known=known)
    assert first is known[0] or second is known[0]
    assert known[0].hits == 2


def test_candidates_within_each_other_are_fitted_once():
    batch = gaussian(np.zeros(DIM), np.eye(DIM))
    calls = []

    def counted(z):
        calls.append(len(z))
        return batch(z)

    _settle(counted, [_unit(0.0, 0.0)])
    once = len(calls)
    calls.clear()
    (basin,) = _settle(counted, [_unit(0.0, 0.1 * i) for i in range(5)])
    assert len(calls) == once
    assert basin.hits == 5


def test_no_more_than_four_are_fitted():
    centres = [np.array([40.0 * i, 0.0]) for i in range(6)]
    found = _settle(mixture(centres, np.full(6, 1 / 6)), [_unit(*c) for c in centres])
    assert len(found) == MOST_BASINS == 4


def test_a_candidate_without_a_finite_loss_is_no_solution():
    def nowhere(z):
        return np.full(len(z), -np.inf), np.zeros_like(z)

    assert _settle(nowhere, [_unit(0.0, 0.0)]) == []
