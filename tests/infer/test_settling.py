"""When a run counts as settled, on records made up for it."""

import numpy as np
import pytest

from taut.infer.settling import THINNING, settled

# 100 iterates in each half of the last half: the threshold is 4.6 standard errors of noise away.
STEPS = 20_000
KEPT = STEPS // THINNING


def _judge(seed, fall=0.0, noise=1.0, drift=0.0, jitter=1.0, steps=STEPS):
    rng = np.random.default_rng(seed)
    time = np.arange(steps) / steps
    losses = 10.0 - fall * time + noise * rng.normal(size=steps)
    path = drift * np.arange(steps // THINNING)[:, None] / KEPT
    iterates = path + jitter * rng.normal(size=(steps // THINNING, 3))
    return settled(losses, iterates, ("a", "b", "c"))


SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_alone_is_settled(seed):
    assert _judge(seed).converged


@pytest.mark.parametrize("seed", SEEDS)
def test_a_falling_loss_is_not(seed):
    judged = _judge(seed, fall=2.0)
    assert not judged.converged
    assert "still falling" in judged.message


@pytest.mark.parametrize("seed", SEEDS)
def test_a_param_that_drifts_under_a_noisy_loss_is_not(seed):
    judged = _judge(seed, noise=30.0, drift=20.0)
    assert not judged.converged
    assert "still moving" in judged.message


@pytest.mark.parametrize("seed", SEEDS)
def test_without_noise_a_negligible_fall_is_settled(seed):
    assert _judge(seed, fall=0.01, noise=1e-5, drift=0.1, jitter=1e-5).converged
    assert not _judge(seed, fall=0.5, noise=1e-5, drift=0.1, jitter=1e-5).converged


def test_a_short_run_cannot_tell():
    assert "too few steps" in _judge(0, steps=900).message


def test_params_that_stand_still_have_settled():
    assert _judge(0, jitter=0.0).converged


def test_steps_passed_over_are_left_out():
    losses = np.full(STEPS, np.nan)
    assert not settled(losses, np.zeros((KEPT, 1)), ("a",)).converged
