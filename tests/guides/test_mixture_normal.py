"""The mixture of Gaussians, against SciPy and its own draws."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from seeds import EACH_SEED

from taut.guides.mixture_normal import MixtureNormal

DIM = 3


def _make(seed):
    rng = np.random.default_rng(seed)
    tril = np.tril(rng.normal(size=(4, DIM, DIM)), -1)
    tril += np.eye(DIM) * rng.uniform(0.3, 2.0, (4, 1, DIM))
    return MixtureNormal(rng.dirichlet(np.ones(4)), 3.0 * rng.normal(size=(4, DIM)), tril)


@EACH_SEED
def test_the_density_is_the_sum_of_its_components(seed, same_to_rounding):
    guide = _make(seed)
    z = 4.0 * np.random.default_rng([seed, 1]).normal(size=(20, DIM))
    parts = [
        scipy.stats.multivariate_normal(loc, tril @ tril.T).logpdf(z)
        for loc, tril in zip(guide.loc, guide.scale_tril, strict=True)
    ]
    expected = scipy.special.logsumexp(np.array(parts).T + np.log(guide.weights), axis=1)
    same_to_rounding(guide.log_prob(z), expected, condition=1e4)
    same_to_rounding(guide.log_prob(z[0]), expected[0], condition=1e4)


@EACH_SEED
def test_draws_have_the_moments_the_guide_states(seed, within_error):
    guide = _make(seed)
    noise = np.random.default_rng([seed, 2]).standard_normal((20_000, guide.noise_dim))
    z, chosen = guide.transform(noise), guide.component(noise)
    error = z.std(axis=0) / np.sqrt(len(z))
    for i in range(DIM):
        within_error(z[:, i].mean(), guide.mean()[i], error[i])
        squares = (z[:, i] - guide.mean()[i]) ** 2
        within_error(squares.mean(), guide.sd()[i] ** 2, squares.std() / np.sqrt(len(z)))
    for k, weight in enumerate(guide.weights):
        within_error((chosen == k).mean(), weight, np.sqrt(weight * (1 - weight) / len(z)))
        # A draw is its component's transform of the same noise.
        mine = chosen == k
        component = guide.components[k].transform(noise[mine, :-1])
        np.testing.assert_allclose(z[mine], component, rtol=1e-12, atol=1e-12)


def test_far_out_the_density_is_finite():
    assert np.isfinite(_make(0).log_prob(np.full(DIM, 1e6)))


def test_it_runs_in_jax_in_the_type_it_is_given(same_to_rounding):
    host = _make(0)
    guide = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf, jnp.float32), host)
    noise = np.random.default_rng(3).standard_normal((50, DIM + 1))
    z = jax.jit(lambda g, e: g.transform(e))(guide, jnp.asarray(noise, jnp.float32))
    log_q = jax.jit(lambda g, x: g.log_prob(x))(guide, z)
    assert z.dtype == log_q.dtype == jnp.float32
    same_to_rounding(z, host.transform(noise), np.float32, condition=10)
    same_to_rounding(log_q, host.log_prob(np.asarray(z, float)), np.float32, condition=100)
