"""Chains of a guide that is far off: run on until doubling windows agree, or not believed."""

import numpy as np
from batches import covariance, gaussian, mixture
from seeds import EACH_SEED

from taut.diagnostics.short_hmc import QUIET_WINDOWS, WINDOWS, ShortHmc
from taut.diagnostics.walk import FULL, groups_of
from taut.guides.full_rank import FullRankNormal
from taut.guides.mixture_normal import MixtureNormal

DIM = 4


def _persist(batch, guide, seed):
    rng = np.random.default_rng([seed, 1])
    start = guide.transform(rng.standard_normal((FULL.chains, guide.noise_dim)))
    hmc = ShortHmc(batch, guide, start, FULL, rng)
    return hmc.persist(next(hmc.rounds()))


@EACH_SEED
def test_a_narrow_guide_beside_the_posterior_is_left_behind(seed, within_error):
    rng = np.random.default_rng([seed, 2])
    mean, cov = rng.normal(size=DIM), covariance(DIM, rng)
    guide = FullRankNormal(mean + 3.0 * np.sqrt(np.diag(cov)), 0.3 * np.linalg.cholesky(cov))
    chains = _persist(gaussian(mean, cov), guide, seed)
    assert chains.confirmed
    assert chains.rounds >= 1 + sum(WINDOWS[: QUIET_WINDOWS + 1])
    assert chains.states.shape == (FULL.kept, FULL.chains, DIM)
    means = chains.states.mean(axis=0)
    for i in range(DIM):
        within_error(means[:, i].mean(), mean[i], means[:, i].std() / np.sqrt(FULL.chains))
    np.testing.assert_allclose(chains.mean_drift, -10.0, atol=1.0)
    np.testing.assert_allclose(chains.sd_ratio, 1.0 / 0.3, rtol=0.1)


@EACH_SEED
def test_the_neck_of_a_funnel_is_not_confirmed(seed):
    def funnel(z):
        v, x = z[:, :1], z[:, 1:]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = x**2 * np.exp(-v)
            slope = -v[:, 0] / 9.0 + 0.5 * (squares - 1.0).sum(axis=1)
            values = -(v[:, 0] ** 2) / 18.0 - 0.5 * (squares + v).sum(axis=1)
            gradients = np.column_stack([slope, -x * np.exp(-v)])
        bad = ~np.isfinite(values + gradients.sum(axis=1))
        values[bad], gradients[bad] = -np.inf, 0.0
        return values, gradients

    assert not _persist(funnel, FullRankNormal(np.zeros(10), np.eye(10)), seed).confirmed


@EACH_SEED
def test_chains_of_a_mixture_keep_to_their_modes_and_forget_within_them(seed):
    centres = [np.full(DIM, -10.0), np.full(DIM, 10.0)]
    guide = MixtureNormal(
        np.array([0.25, 0.75]), np.array(centres), 1.5 * np.array([np.eye(DIM)] * 2)
    )
    rng = np.random.default_rng([seed, 1])
    start = guide.transform(rng.standard_normal((FULL.chains, guide.noise_dim)))
    *_, chains = ShortHmc(mixture(centres, [0.25, 0.75]), guide, start, FULL, rng).rounds()
    assert chains.settled
    np.testing.assert_array_equal(chains.groups, groups_of(guide, start))
    np.testing.assert_array_equal(groups_of(guide, chains.states[-1]), chains.groups)
    for group, centre in enumerate(centres):
        states = chains.states[:, chains.groups == group].reshape(-1, DIM)
        np.testing.assert_allclose(states.std(axis=0), 1.0, atol=0.15)
        np.testing.assert_allclose(states.mean(axis=0), centre, atol=0.15)
