import numpy as np
import pytest

from taut.guides.noise import matched_noise, power_of_two


@pytest.mark.parametrize(("draws", "dim"), [(2, 1), (8, 3), (64, 10), (64, 32)])
def test_matched_noise_has_mean_zero_and_covariance_one(draws, dim, same_to_rounding):
    noise = matched_noise(draws, dim, np.random.default_rng(0))
    assert noise.shape == (draws, dim)
    # With barely as many draws as dimensions, whitening divides by small variances.
    condition = 1e3 if draws == 2 * dim else 1.0
    same_to_rounding(noise.mean(axis=0), np.zeros(dim))
    same_to_rounding(noise.T @ noise / draws, np.eye(dim), condition=condition)


def test_matched_noise_is_antithetic():
    noise = matched_noise(16, 3, np.random.default_rng(1))
    assert np.array_equal(noise[:8], -noise[8:])


def test_few_draws_have_variance_one_per_coordinate(same_to_rounding):
    noise = matched_noise(8, 20, np.random.default_rng(2))
    same_to_rounding(noise.mean(axis=0), np.zeros(20))
    same_to_rounding((noise**2).mean(axis=0), np.ones(20))


def test_matched_noise_is_still_random():
    first, second = (matched_noise(16, 3, np.random.default_rng(s)) for s in (3, 4))
    assert np.abs(first - second).max() > 0
    assert np.array_equal(first, matched_noise(16, 3, np.random.default_rng(3)))


@pytest.mark.parametrize(
    ("value", "expected"), [(0.1, 1), (1, 1), (2, 2), (2.1, 4), (1024, 1024), (1025, 2048)]
)
def test_power_of_two_is_the_smallest_that_suffices(value, expected):
    assert power_of_two(value) == expected
