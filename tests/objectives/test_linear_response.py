"""Curvature by differences of gradients, and the covariance that linear response makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import covariance, gaussian
from seeds import EACH_SEED, SEEDS

from taut.guides.mean_field import MeanFieldNormal
from taut.guides.noise import matched_noise
from taut.objectives.linear_response import (
    CURVATURE_DRAWS,
    STEP,
    curvature,
    curvature_cost,
)

DIM = 6


def _fitted(cov):
    """The best mean-field Gaussian of a centred Gaussian: conditional sds."""
    return MeanFieldNormal(np.zeros(len(cov)), 1.0 / np.sqrt(np.diagonal(np.linalg.inv(cov))))


def _noise(seed, draws=CURVATURE_DRAWS, dim=DIM):
    return matched_noise(draws, dim, np.random.default_rng([seed, 1]))


@pytest.mark.parametrize("draws", [2, CURVATURE_DRAWS])
@EACH_SEED
def test_the_covariance_of_a_gaussian_is_exact_on_any_antithetic_draws(
    seed, draws, same_to_rounding
):
    # A quadratic has the same Hessian everywhere, and central differences of it are exact.
    cov = covariance(DIM, np.random.default_rng(seed))
    found = curvature(gaussian(np.zeros(DIM), cov), _fitted(cov), _noise(seed, draws), 0.0)
    condition = np.linalg.cond(cov) / STEP
    same_to_rounding(found.linear_response(), cov, condition=condition)
    same_to_rounding(found.mean_precision(), cov, condition=condition)
    assert (np.sqrt(np.diagonal(cov)) > found.guide.scale).all()


def _counts(design, y):
    """A Poisson regression: log density and batch."""

    def log_p(z):
        rate = design @ z
        return (y * rate - jnp.exp(rate)).sum() - 0.5 * (z**2).sum()

    both = jax.jit(jax.vmap(jax.value_and_grad(log_p)))
    return log_p, lambda z: tuple(np.asarray(part) for part in both(jnp.asarray(z)))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("seed", SEEDS[:4])
def test_it_is_the_hessian_of_the_objective_at_its_optimum(seed):
    rng = np.random.default_rng(seed)
    design, y = 0.5 * rng.normal(size=(20, DIM)), rng.poisson(2.0, 20)
    log_p, batch = _counts(design, y)
    noise = _noise(seed)

    def loss(point):
        loc, log_scale = point[:DIM], point[DIM:]
        values = jax.vmap(log_p)(loc + jnp.exp(log_scale) * noise)
        return -values.mean() - log_scale.sum()

    point = jnp.concatenate([jnp.zeros(DIM), jnp.full(DIM, -1.5)])
    for _ in range(30):
        step = jnp.linalg.solve(jax.hessian(loss)(point), jax.grad(loss)(point))
        point = point - step / jnp.maximum(1.0, jnp.abs(step).max())
    assert jnp.abs(jax.grad(loss)(point)).max() < 1e-9
    guide = MeanFieldNormal(np.asarray(point[:DIM]), np.exp(np.asarray(point[DIM:])))
    found = curvature(batch, guide, noise, 0.0)
    units = np.concatenate([guide.scale, np.ones(DIM)])
    expected = np.asarray(jax.hessian(loss)(point)) * np.outer(units, units)
    got = np.block([[found.means, found.mixed], [found.mixed.T, found.scales]])
    # Over a step of h, the difference of exp(a z) is off by (a h)^2 / 6 of itself; `widest` is the
    # largest a, in sds, and the terms of one entry can cancel, so it is a share of the largest.
    widest = np.abs(design * guide.scale).max()
    allowed = 2.0 * (STEP * widest) ** 2 / 6.0 * np.abs(expected).max()
    assert np.abs(got - expected).max() < allowed
    exact = np.linalg.inv(expected)[:DIM, :DIM] * np.outer(guide.scale, guide.scale)
    np.testing.assert_allclose(
        np.sqrt(np.diagonal(found.linear_response())), np.sqrt(np.diagonal(exact)), rtol=0.01
    )


def test_single_precision_is_enough():
    # Gradients rounded to 24 bits: 6e-8 of the terms of each sum, over the step, times condition.
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    cov = (axes * np.geomspace(0.1, 100.0, 40)) @ axes.T
    batch = gaussian(np.zeros(40), cov)

    def rounded(z):
        return tuple(part.astype(np.float32) for part in batch(z))

    found = curvature(rounded, _fitted(cov), _noise(0, dim=40), 1e-5)
    ratio = np.sqrt(np.diagonal(found.linear_response()) / np.diagonal(cov))
    assert np.abs(ratio - 1.0).max() < 6e-8 / STEP * 1e3


def test_it_takes_two_gradients_for_each_draw_and_coordinate():
    cov, rows = np.eye(70), []

    def counting(z):
        rows.append(len(z))
        return gaussian(np.zeros(70), cov)(z)

    curvature(counting, _fitted(cov), _noise(0, dim=70), 0.0)
    assert sum(rows) == curvature_cost(70) == 2 * CURVATURE_DRAWS * 70


def test_a_saddle_has_no_covariance():
    def saddle(z):
        signs = np.array([1.0] + [-1.0] * (DIM - 1))
        return 0.5 * (signs * z**2).sum(axis=1), signs * z

    found = curvature(saddle, MeanFieldNormal(np.zeros(DIM), np.ones(DIM)), _noise(0), 0.0)
    assert found.linear_response() is None
    assert found.mean_precision() is None


def test_draws_without_a_density_have_no_curvature():
    def nowhere(z):
        return np.full(len(z), -np.inf), np.zeros_like(z)

    guide = MeanFieldNormal(np.zeros(DIM), np.ones(DIM))
    assert curvature(nowhere, guide, _noise(0), 0.0) is None
