"""What every family of Gaussians promises: identities of the matched ELBO, its charts and steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from taut.guides.full_rank import FullRankNormal
from taut.guides.low_rank import LowRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.noise import matched_noise
from taut.objectives.full_rank import FullRankFamily
from taut.objectives.low_rank import LowRankFamily, default_rank, widen
from taut.objectives.matched_elbo import evaluate
from taut.objectives.mean_field import MeanFieldFamily

DIM = 5


def _full_rank(rng):
    factor = np.tril(0.5 * rng.normal(size=(DIM, DIM)), -1) + np.diag(rng.uniform(0.3, 2.0, DIM))
    return FullRankNormal(rng.normal(size=DIM), factor)


def _mean_field(rng):
    return MeanFieldNormal(rng.normal(size=DIM), rng.uniform(0.3, 2.0, DIM))


def _low_rank(rng):
    return LowRankNormal(
        rng.normal(size=DIM), rng.uniform(0.3, 2.0, DIM), 0.7 * rng.normal(size=(DIM, 2))
    )


FAMILIES = {
    "full-rank": (FullRankFamily(), _full_rank),
    "mean-field": (MeanFieldFamily(), _mean_field),
    "low-rank": (LowRankFamily(), _low_rank),
}
WITH_NATURAL_STEP = ("full-rank", "mean-field")

each_family = pytest.mark.parametrize("name", FAMILIES)


def _covariance(guide):
    if guide.name == "full-rank":
        return guide.scale_tril @ guide.scale_tril.T
    if guide.name == "mean-field":
        return np.diag(guide.scale**2)
    return np.diag(guide.scale**2) + guide.factor @ guide.factor.T


def _gaussian(mean, covariance):
    """Batched log density, up to a constant, and gradient of a Gaussian."""
    precision = np.linalg.inv(covariance)

    def batch(z):
        gradients = -(z - mean) @ precision
        return 0.5 * ((z - mean) * gradients).sum(axis=1), gradients

    return batch


def _bent(z):
    """A smooth log density that no Gaussian fits."""
    return -jnp.sum(jnp.cosh(z)) - 0.5 * (z[1] - z[0] ** 2) ** 2 - 0.1 * z[2] ** 3 * jnp.tanh(z[3])


def _bent_batch(z):
    values, gradients = jax.vmap(jax.value_and_grad(_bent))(jnp.asarray(z))
    return np.asarray(values), np.asarray(gradients)


@each_family
def test_noise_matches_the_moments_that_the_family_needs(name, same_to_rounding):
    family, make = FAMILIES[name]
    guide = make(np.random.default_rng(0))
    noise = family.noise(64, guide, np.random.default_rng(1))
    assert noise.shape == (64, guide.noise_dim)
    same_to_rounding(noise.mean(axis=0), np.zeros(guide.noise_dim))
    second = noise.T @ noise / len(noise)
    same_to_rounding(np.diagonal(second), np.ones(guide.noise_dim))
    if name == "full-rank":
        same_to_rounding(second, np.eye(guide.noise_dim))
    if name == "low-rank":
        same_to_rounding(second[DIM:, DIM:], np.eye(guide.rank))
        same_to_rounding(second[:DIM, DIM:], np.zeros((DIM, guide.rank)))


@each_family
def test_loss_is_minus_the_mean_log_density_minus_the_entropy(name, same_to_rounding):
    family, make = FAMILIES[name]
    guide = make(np.random.default_rng(2))
    noise = family.noise(64, guide, np.random.default_rng(3))
    covariance = np.cov(np.random.default_rng(4).normal(size=(DIM, 30)))
    found = evaluate(_gaussian(np.ones(DIM), covariance), guide, noise)
    draws = guide.transform(noise)
    target = scipy.stats.multivariate_normal(np.ones(DIM), covariance)
    normaliser = -target.logpdf(np.ones(DIM))
    expected = -(target.logpdf(draws).mean() + normaliser + guide.entropy())
    same_to_rounding(found.loss, expected, condition=np.linalg.cond(covariance))
    assert found.draws == 64


@each_family
def test_a_draw_without_density_makes_the_loss_infinite(name):
    family, make = FAMILIES[name]
    guide = make(np.random.default_rng(2))
    noise = family.noise(32, guide, np.random.default_rng(3))

    def batch(z):
        values = np.zeros(len(z))
        values[7] = -np.inf
        return values, np.zeros_like(z)

    assert evaluate(batch, guide, noise).loss == np.inf


@each_family
@pytest.mark.parametrize("seed", range(3))
def test_at_the_exact_posterior_nothing_is_left_to_do(name, seed, same_to_rounding):
    # Sticking the landing: every single draw has a zero score residual, not only their mean.
    family, make = FAMILIES[name]
    guide = make(np.random.default_rng(seed))
    covariance = _covariance(guide)
    noise = matched_noise(64, guide.noise_dim, np.random.default_rng(seed + 10))
    found = evaluate(_gaussian(guide.loc, covariance), guide, noise)
    condition = np.linalg.cond(covariance)
    draws = guide.transform(noise)
    residual = found.gradients + np.linalg.solve(covariance, (draws - guide.loc).T).T
    same_to_rounding(residual, np.zeros_like(residual), condition=condition)
    same_to_rounding(family.scatter(found), 0.0, condition=condition)
    log_weights = found.values - guide.log_prob(draws)
    same_to_rounding(log_weights, np.full(64, log_weights[0]), condition=condition)
    gradient = family.chart(guide).gradient(np.zeros(family.chart(guide).size), found)
    same_to_rounding(gradient, np.zeros_like(gradient), condition=condition)
    step = family.natural_step(found)
    if name in WITH_NATURAL_STEP:
        same_to_rounding(step.norm, 0.0, condition=condition)
        same_to_rounding(step.guide(1.0, 0.05).loc, guide.loc, condition=condition)
    else:
        assert step is None


@each_family
def test_scatter_is_positive_away_from_the_posterior(name):
    family, make = FAMILIES[name]
    guide = make(np.random.default_rng(2))
    noise = family.noise(64, guide, np.random.default_rng(3))
    other = _covariance(make(np.random.default_rng(4)))
    assert family.scatter(evaluate(_gaussian(np.ones(DIM), other), guide, noise)) > 0.01


def _documented_guide(name, origin, point):
    """The chart's coordinates as its docstring gives them, in JAX."""
    shift = point[:DIM]
    ratio = jnp.exp(point[DIM : 2 * DIM] / np.sqrt(2.0))
    rest = point[2 * DIM :]
    if name == "full-rank":
        factor = jnp.zeros((DIM, DIM)).at[np.tril_indices(DIM, -1)].set(rest) + jnp.diag(ratio)
        return FullRankNormal(origin.loc + origin.scale_tril @ shift, origin.scale_tril @ factor)
    if name == "mean-field":
        return MeanFieldNormal(origin.loc + origin.scale * shift, origin.scale * ratio)
    factor = origin.factor + origin.scale[:, None] * rest.reshape(origin.factor.shape)
    return LowRankNormal(origin.loc + origin.scale * shift, origin.scale * ratio, factor)


@each_family
@pytest.mark.usefixtures("double_precision")
def test_chart_has_the_documented_coordinates(name, same_to_rounding):
    family, make = FAMILIES[name]
    origin = make(np.random.default_rng(5))
    chart = family.chart(origin)
    point = 0.3 * np.random.default_rng(6).normal(size=chart.size)
    expected = jax.tree_util.tree_leaves(_documented_guide(name, origin, jnp.asarray(point)))
    for leaf, wanted in zip(jax.tree_util.tree_leaves(chart.guide(point)), expected, strict=True):
        same_to_rounding(leaf, wanted)
    at_zero = jax.tree_util.tree_leaves(chart.guide(np.zeros(chart.size)))
    for leaf, wanted in zip(at_zero, jax.tree_util.tree_leaves(origin), strict=True):
        same_to_rounding(leaf, wanted)


@each_family
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("double_precision")
def test_chart_gradient_is_that_of_the_loss(name, seed, same_to_rounding):
    family, make = FAMILIES[name]
    rng = np.random.default_rng(seed)
    origin = make(rng)
    chart = family.chart(origin)
    point = 0.2 * rng.normal(size=chart.size)
    noise = family.noise(32, origin, rng)

    def loss(coordinates):
        guide = _documented_guide(name, origin, coordinates)
        return -(jax.vmap(_bent)(guide.transform(jnp.asarray(noise))).mean() + guide.entropy())

    expected, gradient = jax.value_and_grad(loss)(jnp.asarray(point))
    found = evaluate(_bent_batch, chart.guide(point), noise)
    same_to_rounding(found.loss, expected)
    same_to_rounding(chart.gradient(point, found), gradient)


@pytest.mark.parametrize("name", WITH_NATURAL_STEP)
@pytest.mark.usefixtures("double_precision")
def test_fisher_information_is_the_identity_at_the_origin_of_a_chart(name, same_to_rounding):
    # The Hessian of KL(origin || point) at the origin is the Fisher information.
    family, make = FAMILIES[name]
    origin = make(np.random.default_rng(7))
    chart = family.chart(origin)
    noise = matched_noise(64, DIM, np.random.default_rng(8))
    draws = jnp.asarray(origin.transform(noise))

    def divergence(point):
        # Exact: the log density is quadratic and the noise has the moments of the normal.
        return -_documented_guide(name, origin, point).log_prob(draws).mean()

    hessian = jax.hessian(divergence)(jnp.zeros(chart.size))
    same_to_rounding(hessian, np.eye(chart.size), condition=10.0)


def _badly_conditioned(name, rng):
    """Covariance with condition number 1e6; diagonal where the family holds no correlations."""
    variances = np.geomspace(1e-3, 1e3, DIM)
    if name == "mean-field":
        return np.diag(rng.permutation(variances))
    axes, _ = np.linalg.qr(rng.normal(size=(DIM, DIM)))
    return axes @ np.diag(variances) @ axes.T


@pytest.mark.parametrize("name", WITH_NATURAL_STEP)
@pytest.mark.parametrize("seed", range(5))
def test_one_natural_step_lands_on_a_gaussian_posterior(name, seed, same_to_rounding):
    family, make = FAMILIES[name]
    rng = np.random.default_rng(seed)
    covariance = _badly_conditioned(name, rng)
    assert np.linalg.cond(covariance) > 0.99e6
    start = make(rng)
    # Within the reach of one step: the mean may move by three of the start's own sds.
    mean = start.loc + start.transform(rng.normal(size=start.noise_dim)) - start.loc
    noise = family.noise(64, start, rng)
    step = family.natural_step(evaluate(_gaussian(mean, covariance), start, noise))
    landed = step.guide(1.0, 0.0)
    same_to_rounding(landed.loc, mean, condition=1e6)
    same_to_rounding(_covariance(landed), covariance, condition=1e6)


@pytest.mark.parametrize("name", WITH_NATURAL_STEP)
@pytest.mark.parametrize("distance", [1.0, 100.0])
def test_capped_natural_steps_land_from_anywhere(name, distance, same_to_rounding):
    # A step moves the mean by at most three sds, so this far away it takes about distance / 3.
    family, make = FAMILIES[name]
    rng = np.random.default_rng(9)
    covariance = _badly_conditioned(name, rng)
    mean = distance * np.linalg.cholesky(covariance) @ rng.normal(size=DIM)
    batch, guide = _gaussian(mean, covariance), make(rng)
    for _ in range(60):
        noise = family.noise(64, guide, rng)
        guide = family.natural_step(evaluate(batch, guide, noise)).guide(1.0, 0.05)
    same_to_rounding(guide.loc, mean, condition=1e6)
    same_to_rounding(_covariance(guide), covariance, condition=1e6)


@pytest.mark.parametrize("name", WITH_NATURAL_STEP)
def test_one_step_never_moves_further_than_the_trust_radius(name):
    family, make = FAMILIES[name]
    start = make(np.random.default_rng(10))
    noise = family.noise(64, start, np.random.default_rng(11))
    found = evaluate(_gaussian(np.full(DIM, 1e8), np.eye(DIM)), start, noise)
    landed = family.natural_step(found).guide(1.0, 0.05)
    moved = np.linalg.solve(np.linalg.cholesky(_covariance(start)), landed.loc - start.loc)
    assert np.sqrt((moved**2).mean()) <= 3.0 * (1 + 1e-12)
    # No precision shrinks below the floor times what it was.
    widened = np.linalg.eigvals(np.linalg.solve(_covariance(start), _covariance(landed)))
    assert widened.real.max() <= 20.0 * (1 + 1e-12)


@each_family
def test_shrinking_scales_all_standard_deviations(name, same_to_rounding):
    family, make = FAMILIES[name]
    guide = make(np.random.default_rng(12))
    small = family.shrink(guide, 0.25)
    same_to_rounding(_covariance(small), _covariance(guide) / 16.0)
    same_to_rounding(small.loc, guide.loc)


@each_family
def test_first_draws_are_enough_for_the_noise_to_match(name):
    family, _ = FAMILIES[name]
    for dim in (1, 10, 100, 300):
        draws = family.first_draws(dim)
        assert draws & (draws - 1) == 0
        whitened = {"full-rank": dim, "mean-field": 1, "low-rank": default_rank(dim)}[name]
        assert draws >= 2 * whitened + 8


def test_widening_a_mean_field_guide_adds_the_directions_it_misses(same_to_rounding):
    rng = np.random.default_rng(13)
    direction = rng.normal(size=DIM)
    covariance = np.eye(DIM) + 4.0 * np.outer(direction, direction)
    precision = np.linalg.inv(covariance)
    # The best independent Gaussian has the conditional standard deviations.
    narrow = MeanFieldNormal(np.zeros(DIM), 1.0 / np.sqrt(np.diagonal(precision)))
    noise = matched_noise(512, DIM, rng)
    wide = widen(evaluate(_gaussian(np.zeros(DIM), covariance), narrow, noise), 3)
    assert wide.rank == 3
    assert (wide.sd() > narrow.sd()).all()
    added = wide.factor @ wide.factor.T / np.outer(narrow.scale, narrow.scale)
    _, axes = np.linalg.eigh(added)
    whitened = np.linalg.inv(np.diag(narrow.scale) @ precision @ np.diag(narrow.scale))
    _, wanted = np.linalg.eigh(whitened)
    # The widest missing direction is found exactly, because the noise matches in covariance.
    same_to_rounding(np.abs(axes[:, -1] @ wanted[:, -1]), 1.0)
