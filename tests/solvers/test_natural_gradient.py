import numpy as np
import pytest

from taut.guides.full_rank import FullRankNormal
from taut.guides.low_rank import LowRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.objectives.full_rank import FullRankFamily
from taut.objectives.low_rank import LowRankFamily
from taut.objectives.matched_elbo import evaluate
from taut.objectives.mean_field import MeanFieldFamily
from taut.solvers.natural_gradient import NaturalGradient

RESOLUTION = 1e-15

FAMILIES = {
    "full-rank": (FullRankFamily(), lambda dim: FullRankNormal(np.full(dim, 2.0), np.eye(dim))),
    "mean-field": (MeanFieldFamily(), lambda dim: MeanFieldNormal(np.full(dim, 2.0), np.ones(dim))),
}


def _heavy(z):
    squares = (z**2).sum(axis=1)
    return -2.5 * np.log1p(squares / 3.0), -5.0 * z / (3.0 + squares[:, None])


def _skewed(z):
    # The log of an exponential rate's posterior, and a curved ridge.
    values = (z - np.exp(z)).sum(axis=1) - 0.5 * (z[:, 0] - z[:, 1] ** 2) ** 2
    gradients = 1.0 - np.exp(z)
    ridge = z[:, 0] - z[:, 1] ** 2
    gradients[:, 0] -= ridge
    gradients[:, 1] += 2.0 * z[:, 1] * ridge
    return values, gradients


def _bounded(z):
    # No density beyond |z| = 4: a wide guide must be narrowed.
    inside = (np.abs(z) < 4.0).all(axis=1)
    values = np.where(inside, -0.5 * (z**2).sum(axis=1), -np.inf)
    return values, np.where(inside[:, None], -z, 0.0)


TARGETS = {"heavy": _heavy, "skewed": _skewed, "bounded": _bounded}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(5))
def test_the_loss_never_rises_beyond_rounding(name, target, seed):
    family, make = FAMILIES[name]
    batch, guide = TARGETS[target], family.shrink(make(3), 0.3)
    noise = family.noise(32, guide, np.random.default_rng(seed))
    solver = NaturalGradient(family, batch, RESOLUTION)
    state = solver.init(evaluate(batch, guide, noise))
    first = state.evaluation.loss
    assert np.isfinite(first)
    for _ in range(15):
        before = state.evaluation
        state = solver.step(state)
        after = state.evaluation
        assert after.loss <= before.loss + RESOLUTION * abs(before.loss)
        assert after.noise is noise
        assert 0.0 < state.size <= 1.0
        assert state.decrease == max(before.loss - after.loss, 0.0)
        if not state.moved:
            assert after is before
            break
    assert state.evaluation.loss < first


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gaussian_takes_one_step(name, same_to_rounding):
    family, make = FAMILIES[name]
    guide = make(3)

    def batch(z):
        return -0.5 * ((z / 2.0) ** 2).sum(axis=1), -z / 4.0

    noise = family.noise(32, guide, np.random.default_rng(0))
    solver = NaturalGradient(family, batch, RESOLUTION)
    state = solver.step(solver.init(evaluate(batch, guide, noise)))
    # At the posterior minus the ELBO is minus the log of the normaliser.
    same_to_rounding(state.evaluation.loss, -1.5 * np.log(2 * np.pi * 4.0))
    assert state.tried == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_where_every_direction_is_up_it_does_not_move(name):
    family, make = FAMILIES[name]
    guide = make(2)
    noise = family.noise(32, guide, np.random.default_rng(0))
    good = evaluate(_heavy, guide, noise)

    def lost(z):
        return np.full(len(z), -np.inf), np.zeros_like(z)

    state = NaturalGradient(family, lost, RESOLUTION)
    after = state.step(state.init(good))
    assert not after.moved
    assert after.evaluation is good
    assert after.decrease == 0.0
    assert after.tried > 0


def test_a_family_without_a_natural_step_stays():
    guide = LowRankNormal(np.zeros(3), np.ones(3), np.ones((3, 1)))
    family = LowRankFamily()
    noise = family.noise(32, guide, np.random.default_rng(0))
    solver = NaturalGradient(family, _heavy, RESOLUTION)
    state = solver.step(solver.init(evaluate(_heavy, guide, noise)))
    assert not state.moved
    assert state.tried == 0
    assert state.evaluation.guide is guide
