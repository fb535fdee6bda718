"""What every guide promises, over a registry of all of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from taut.guides.full_rank import FullRankNormal
from taut.guides.low_rank import LowRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.noise import matched_noise


def _full_rank(rng, dim):
    factor = np.tril(rng.normal(size=(dim, dim)), -1) + np.diag(rng.uniform(0.3, 2.0, dim))
    return FullRankNormal(rng.normal(size=dim), factor)


def _mean_field(rng, dim):
    return MeanFieldNormal(rng.normal(size=dim), rng.uniform(0.3, 2.0, dim))


def _low_rank(rng, dim):
    scale, factor = rng.uniform(0.3, 2.0, dim), rng.normal(size=(dim, min(2, dim)))
    return LowRankNormal(rng.normal(size=dim), scale, factor)


GUIDES = {"full-rank": _full_rank, "mean-field": _mean_field, "low-rank": _low_rank}
SQUARE = ("full-rank", "mean-field")

pytestmark = pytest.mark.parametrize("name", GUIDES)


def _make(name, dim=4, seed=0):
    return GUIDES[name](np.random.default_rng(seed), dim)


def _moments(guide):
    """Mean and covariance of an affine transform of standard normal noise."""
    origin = np.zeros(guide.noise_dim)
    mean = guide.transform(origin)
    columns = [guide.transform(row) - mean for row in np.eye(guide.noise_dim)]
    return mean, np.array(columns).T @ np.array(columns)


def _as_jax(guide, dtype):
    return jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf, dtype), guide)


def test_the_name_is_the_one_users_type(name):
    assert _make(name).name == name


def test_sizes_agree_with_the_parameters(name):
    guide = _make(name)
    draws = guide.transform(np.zeros((5, guide.noise_dim)))
    assert guide.dim == 4
    assert draws.shape == (5, 4)
    assert guide.log_prob(draws).shape == (5,)
    assert guide.mean().shape == guide.sd().shape == (4,)


def test_density_integrates_to_one(name, same_to_rounding):
    # The trapezoid rule is exact to rounding for a Gaussian on a grid this fine and wide.
    guide = _make(name, dim=2)
    axes = [np.linspace(-30.0, 30.0, 1201)] * 2
    points = np.stack(np.meshgrid(*axes), axis=-1)
    step = axes[0][1] - axes[0][0]
    same_to_rounding(np.exp(guide.log_prob(points)).sum() * step**2, 1.0)


def test_density_is_that_of_the_transform(name, same_to_rounding):
    guide = _make(name)
    z = np.random.default_rng(1).normal(size=(20, 4))
    mean, covariance = _moments(guide)
    expected = scipy.stats.multivariate_normal(mean, covariance).logpdf(z)
    same_to_rounding(guide.log_prob(z), expected, condition=np.linalg.cond(covariance))


def test_mean_and_sd_are_those_of_the_transform(name, same_to_rounding):
    guide = _make(name)
    mean, covariance = _moments(guide)
    same_to_rounding(guide.mean(), mean)
    same_to_rounding(guide.sd(), np.sqrt(np.diagonal(covariance)))


@pytest.mark.usefixtures("double_precision")
def test_density_follows_from_the_jacobian_of_the_transform(name, same_to_rounding):
    guide = _as_jax(_make(name), jnp.float64)
    noise = jnp.asarray(np.random.default_rng(2).normal(size=guide.noise_dim))
    if name not in SQUARE:
        # More noise than coordinates: the density is that of the covariance J J'.
        jacobian = jax.jacfwd(guide.transform)(noise)
        _, twice_log_det = jnp.linalg.slogdet(jacobian @ jacobian.T)
        centred = guide.transform(noise) - guide.transform(0.0 * noise)
        square = centred @ jnp.linalg.solve(jacobian @ jacobian.T, centred)
        expected = -0.5 * (square + twice_log_det + guide.dim * np.log(2 * np.pi))
    else:
        _, log_det = jnp.linalg.slogdet(jax.jacfwd(guide.transform)(noise))
        expected = scipy.stats.norm.logpdf(noise).sum() - log_det
    same_to_rounding(guide.log_prob(guide.transform(noise)), expected)


def test_entropy_is_minus_the_mean_log_density(name, same_to_rounding):
    # Noise with mean zero and covariance one gives a quadratic its exact expectation.
    guide = _make(name)
    noise = matched_noise(64, guide.noise_dim, np.random.default_rng(3))
    same_to_rounding(guide.entropy(), -guide.log_prob(guide.transform(noise)).mean())


def test_entropy_is_minus_the_mean_log_density_of_independent_draws(name, within_error):
    guide = _make(name)
    noise = np.random.default_rng(4).normal(size=(4000, guide.noise_dim))
    log_q = guide.log_prob(guide.transform(noise))
    within_error(-log_q.mean(), guide.entropy(), log_q.std(ddof=1) / np.sqrt(len(log_q)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("guide_dtype", [np.float32, np.float64])
def test_floating_type_out_is_floating_type_in(name, dtype, guide_dtype):
    guide = jax.tree_util.tree_map(lambda leaf: leaf.astype(guide_dtype), _make(name))
    noise = np.ones((3, guide.noise_dim), dtype)
    draws = guide.transform(noise)
    assert draws.dtype == dtype
    assert guide.log_prob(draws).dtype == dtype
    traced = _as_jax(guide, np.float32)
    single = traced.transform(jnp.ones((3, guide.noise_dim), jnp.float32))
    assert single.dtype == traced.log_prob(single).dtype == jnp.float32
    assert traced.entropy().dtype == jnp.float32


@pytest.mark.usefixtures("double_precision")
def test_numpy_and_jax_agree(name, same_to_rounding):
    host, device = _make(name), _as_jax(_make(name), jnp.float64)
    noise = np.random.default_rng(5).normal(size=(6, host.noise_dim))
    draws = host.transform(noise)
    condition = np.linalg.cond(_moments(host)[1])
    same_to_rounding(device.transform(jnp.asarray(noise)), draws)
    same_to_rounding(
        device.log_prob(jnp.asarray(draws)), host.log_prob(draws), np.float64, condition
    )
    same_to_rounding(device.entropy(), host.entropy())
    same_to_rounding(device.sd(), host.sd())
    assert isinstance(host.log_prob(draws), np.ndarray)
    assert isinstance(device.log_prob(jnp.asarray(draws)), jax.Array)


def test_leading_axes_are_a_batch(name, same_to_rounding):
    guide = _make(name)
    noise = np.random.default_rng(6).normal(size=(2, 3, guide.noise_dim))
    draws = guide.transform(noise)
    density = guide.log_prob(draws)
    for index in np.ndindex(2, 3):
        same_to_rounding(draws[index], guide.transform(noise[index]))
        same_to_rounding(density[index], guide.log_prob(draws[index]))


@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 1e15), (np.float64, 1e100)])
def test_density_and_gradient_are_finite_far_out(name, dtype, far):
    guide = jax.tree_util.tree_map(lambda leaf: leaf.astype(dtype), _make(name))
    z = np.full(4, far, dtype)
    assert np.isfinite(guide.log_prob(z))
    assert np.isfinite(guide.transform(np.full(guide.noise_dim, far, dtype))).all()
    if dtype == np.float32:
        gradient = jax.grad(_as_jax(guide, dtype).log_prob)(jnp.asarray(z))
        assert jnp.isfinite(gradient).all()


def test_a_guide_cannot_be_changed(name):
    guide = _make(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        guide.loc = np.zeros(4)


def test_arguments_are_not_changed(name):
    guide = _make(name)
    noise = np.random.default_rng(7).normal(size=(3, guide.noise_dim))
    kept = noise.copy(), [leaf.copy() for leaf in jax.tree_util.tree_leaves(guide)]
    guide.log_prob(guide.transform(noise))
    assert np.array_equal(noise, kept[0])
    for leaf, before in zip(jax.tree_util.tree_leaves(guide), kept[1], strict=True):
        assert np.array_equal(leaf, before)


def test_the_leaves_are_the_parameters(name):
    guide = _make(name)
    leaves, structure = jax.tree_util.tree_flatten(guide)
    fields = [getattr(guide, field.name) for field in dataclasses.fields(guide)]
    assert all(leaf is field for leaf, field in zip(leaves, fields, strict=True))
    again = jax.tree_util.tree_unflatten(structure, leaves)
    assert type(again) is type(guide)
    z = np.ones((2, 4))
    assert np.array_equal(again.log_prob(z), guide.log_prob(z))


def test_a_guide_is_an_argument_of_compiled_functions(name, same_to_rounding):
    traces = []

    @jax.jit
    def density(guide, z):
        traces.append(1)
        return guide.log_prob(z), guide.entropy()

    z = np.random.default_rng(8).normal(size=(5, 4)).astype(np.float32)
    for seed in range(2):
        host = _make(name, seed=seed)
        log_q, entropy = density(_as_jax(host, jnp.float32), z)
        condition = np.linalg.cond(_moments(host)[1])
        same_to_rounding(log_q, host.log_prob(z.astype(float)), np.float32, condition)
        same_to_rounding(entropy, host.entropy(), np.float32, condition)
    assert len(traces) == 1


def test_a_guide_does_not_learn_its_shape(name):
    # The same class serves any dimension, one after the other.
    for dim in (1, 3, 7):
        guide = _make(name, dim=dim)
        assert guide.transform(np.zeros((2, guide.noise_dim))).shape == (2, dim)
        assert guide.log_prob(np.zeros((2, dim))).shape == (2,)
