"""The triangular flow: its map, density and gradients against automatic differentiation."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from seeds import EACH_SEED

from taut.guides.flow_layers import FEW, Coefficients, Noise, Pairs, sum_of_logs
from taut.guides.full_rank import FullRankNormal
from taut.guides.triangular import BLOCK, TriangularFlow

DIM = 4
PAIRS = np.array([[0, 0], [0, 2], [1, 1]])


def make(seed, dim=DIM, size=0.2):
    """A flow with every kind of term, of the given typical size."""
    rng = np.random.default_rng(seed)
    tril = np.tril(rng.normal(size=(dim, dim)), -1) + np.diag(rng.uniform(0.3, 2.0, dim))
    gaussian = FullRankNormal(rng.normal(size=dim), tril)
    index = np.arange(dim)
    rows = np.vstack([np.ones(dim, bool), index > index[:, None]])
    pairs = PAIRS[PAIRS.max(axis=1) < dim - 1]
    after = index > pairs.max(axis=1, initial=-1)[:, None]
    return TriangularFlow(
        gaussian.loc,
        gaussian.scale_tril,
        size * rng.normal(size=rows.shape) * rows,
        size * rng.normal(size=rows.shape) * rows,
        pairs,
        size * rng.normal(size=after.shape) * after,
        size * rng.normal(size=after.shape) * after,
        size * rng.normal(size=dim),
        size * rng.normal(size=dim),
        size * rng.normal(size=dim),
    )


def _as_jax(flow):
    return jax.tree_util.tree_map(jnp.asarray, flow)


def _noise(seed, draws=20, dim=DIM):
    return np.random.default_rng([seed, 1]).standard_normal((draws, dim))


@EACH_SEED
def test_the_inverse_undoes_the_map(seed, same_to_rounding):
    flow, noise = make(seed), _noise(seed)
    same_to_rounding(flow.inverse(flow.transform(noise)), noise, condition=1e4)
    assert flow.inverse(flow.transform(noise.reshape(4, 5, DIM))).shape == (4, 5, DIM)


@pytest.mark.usefixtures("double_precision")
@EACH_SEED
def test_the_density_follows_from_the_jacobian_of_the_map(seed, same_to_rounding):
    flow, noise = make(seed), _noise(seed)
    jacobians = jax.vmap(jax.jacfwd(_as_jax(flow).transform))(jnp.asarray(noise))
    log_det = jnp.linalg.slogdet(jacobians)[1]
    same_to_rounding(flow.log_det(noise), log_det, condition=1e3)
    expected = scipy.stats.norm.logpdf(noise).sum(axis=1) - log_det
    same_to_rounding(flow.log_prob(flow.transform(noise)), expected, condition=1e5)


@pytest.mark.usefixtures("double_precision")
@EACH_SEED
def test_gradients_pulled_back_are_those_of_the_composition(seed, same_to_rounding):
    flow, noise = make(seed), _noise(seed)
    traced = _as_jax(flow)

    def log_p(z):
        return -0.1 * (z**4).sum() + jnp.sin(z).sum()

    def pulled(noise):
        return log_p(traced.transform(noise)) + traced.log_det(noise)

    gradients = np.asarray(jax.vmap(jax.grad(log_p))(jnp.asarray(flow.transform(noise))))
    expected = jax.vmap(jax.grad(pulled))(jnp.asarray(noise))
    same_to_rounding(flow.pull(flow.layers(noise), gradients), expected, condition=1e5)


@pytest.mark.usefixtures("double_precision")
def test_numpy_and_jax_agree(same_to_rounding):
    flow, noise = make(0), _noise(0)
    z = flow.transform(noise)
    traced = _as_jax(flow)
    same_to_rounding(traced.transform(jnp.asarray(noise)), z, condition=1e3)
    same_to_rounding(traced.log_prob(jnp.asarray(z)), flow.log_prob(z), condition=1e5)
    assert isinstance(traced.log_prob(jnp.asarray(z)), jax.Array)
    assert isinstance(flow.log_prob(z), np.ndarray)


def test_without_terms_it_is_its_gaussian(same_to_rounding):
    rng = np.random.default_rng(0)
    tril = np.tril(rng.normal(size=(DIM, DIM)), -1) + np.diag(rng.uniform(0.3, 2.0, DIM))
    gaussian = FullRankNormal(rng.normal(size=DIM), tril)
    flow, noise = TriangularFlow.around(gaussian), _noise(0)
    z = gaussian.transform(noise)
    same_to_rounding(flow.transform(noise), z, condition=10.0)
    same_to_rounding(flow.log_prob(z), gaussian.log_prob(z), condition=1e3)
    same_to_rounding(flow.mean(), gaussian.mean(), condition=10.0)
    # The fixed draws have mean zero and covariance one exactly.
    same_to_rounding(flow.sd(), gaussian.sd(), condition=10.0)


@EACH_SEED
def test_the_moments_are_those_of_independent_draws(seed, within_error):
    flow = make(seed, size=0.15)
    z = flow.transform(_noise(seed, draws=20_000))
    # The stated moments come from 8192 draws of their own.
    error = z.std(axis=0) * np.sqrt(1 / 20_000 + 1 / 8192)
    within_error(flow.mean(), z.mean(axis=0), error)
    squares = (z - z.mean(axis=0)) ** 2
    spread = squares.std(axis=0) / (2.0 * z.std(axis=0)) * np.sqrt(1 / 20_000 + 1 / 8192)
    within_error(flow.sd(), z.std(axis=0), spread)


@EACH_SEED
def test_its_own_draws_score_as_standard_normals(seed, within_error):
    # Heavy tails included: scores know ranks only.
    flow = make(seed, size=0.3)
    scores = flow.scorer()(flow.transform(_noise(seed, draws=20_000)))
    error = np.sqrt(1 / 20_000 + 1 / 8192)
    within_error(scores.mean(axis=0), 0.0, error)
    # Scores end at 1 / 16384: that takes less than 0.002 off their sd.
    within_error(scores.std(axis=0), 1.0, error / np.sqrt(2.0) + 0.0004)


def test_many_draws_are_those_of_one_block(same_to_rounding):
    flow, count = make(0), 2 * BLOCK // DIM + 3
    noise = np.random.default_rng(1).standard_normal((count, DIM))
    z, log_q = flow.draw(count, np.random.default_rng(1))
    layers = flow.layers(noise)
    for made in (z, flow.transform(noise)):
        same_to_rounding(made, flow.place(layers))
    whole = scipy.stats.norm.logpdf(noise).sum(axis=1) - flow.log_det_of(layers)
    same_to_rounding(log_q, whole)


def test_floating_type_out_is_floating_type_in():
    flow = make(0)
    noise = _noise(0).astype(np.float32)
    assert flow.transform(noise).dtype == np.float32
    assert flow.log_prob(flow.transform(noise)).dtype == np.float32


@pytest.mark.parametrize("dim", [1, 2])
def test_few_dimensions_are_enough(dim, same_to_rounding):
    flow, noise = make(3, dim=dim), _noise(3, dim=dim)
    same_to_rounding(flow.inverse(flow.transform(noise)), noise, condition=1e4)
    gradients = np.ones_like(noise)
    assert flow.pull(flow.layers(noise), gradients).shape == noise.shape


@pytest.mark.parametrize("dim", [FEW, FEW + 1])
@pytest.mark.parametrize("filled", [0, 3, FEW - 1])
@pytest.mark.parametrize("pairs", [0, 2])
def test_rows_of_zeros_are_left_out_of_large_products(dim, filled, pairs, same_to_rounding):
    rng, draws = np.random.default_rng([dim, filled, pairs]), 7
    log_scale, shift = np.zeros((2, dim + 1, dim))
    rows = rng.permutation(dim - 1)[:filled]
    for matrix, some in ((log_scale, rows[::2]), (shift, rows)):
        matrix[0] = rng.normal(size=dim)
        matrix[some + 1] = rng.normal(size=(len(some), dim)) * (np.arange(dim) > some[:, None])
    indices = np.array([[0, 0], [0, 1]])[:pairs]
    stretch, bend = rng.normal(size=(2, pairs, dim))
    coefficients = Coefficients(log_scale, shift, stretch, bend)
    drivers = coefficients.drivers
    assert drivers is None if dim <= FEW else drivers.tolist() == sorted(rows)
    noise = Noise.of(rng.normal(size=(draws, dim)), Pairs(indices, dim))
    h = rng.normal(size=(dim, draws))
    linear = np.vstack([np.ones(draws), h])
    log_scales, shifts = coefficients.through(h, noise)
    same_to_rounding(
        log_scales, log_scale.T @ linear + stretch.T @ noise.products[1:], condition=100
    )
    same_to_rounding(shifts, shift.T @ linear + bend.T @ noise.products[1:], condition=100)


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 11])
def test_logarithms_of_products_are_sums_of_logarithms(rows, same_to_rounding):
    values = np.random.default_rng(rows).lognormal(0.0, 3.0, size=(rows, 50))
    same_to_rounding(sum_of_logs(values), np.log(values).sum(axis=0), condition=100)


def test_logarithms_of_products_that_overflow_are_summed_one_by_one(same_to_rounding):
    values = np.full((8, 3), [1e200, 1e-200, 1.0])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        same_to_rounding(sum_of_logs(values), np.log(values).sum(axis=0))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("leaf", ["log_scale", "shift", "bend", "stretch", "lean", "skew", "tail"])
def test_one_traced_leaf_is_enough_to_differentiate(leaf, same_to_rounding):
    flow, noise = make(0), _noise(0)
    z = jnp.asarray(flow.transform(noise))

    def total(value):
        return dataclasses.replace(flow, **{leaf: value}).log_prob(z).sum()

    value = jnp.asarray(getattr(flow, leaf))
    gradient, step = jax.grad(total)(value), 1e-5
    ones = jnp.ones_like(value) * (value != 0.0)
    ends = [total(value + sign * step * ones) for sign in (1.0, -1.0)]
    slope = (ends[0] - ends[1]) / (2.0 * step)
    assert float((gradient * ones).sum()) == pytest.approx(float(slope), rel=1e-5, abs=1e-5)
    # Nothing of the trace is left in a flow that is used again.
    kept = dataclasses.replace(flow, **{leaf: value})
    same_to_rounding(jax.jit(kept.log_prob)(z), flow.log_prob(z), condition=1e4)
    same_to_rounding(kept.log_prob(z), flow.log_prob(z), condition=1e4)


def test_a_pickled_flow_holds_its_leaves_only(same_to_rounding):
    flow, noise = make(0), _noise(0)
    size = len(pickle.dumps(flow))
    z = flow.transform(noise)
    flow.sd()
    assert len(pickle.dumps(flow)) == size
    same_to_rounding(pickle.loads(pickle.dumps(flow)).transform(noise), z)
