"""Posteriors that no Gaussian fits: corrected and right, held by a mixture, or refused."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from seeds import EACH_SEED, SEEDS

import taut

# What a reader of a posterior would notice; corrected draws must be nearer than that.
MEAN_ERROR, SD_RATIOS = 0.15, (0.8, 1.25)


def funnel():
    v = numpyro.sample("v", dist.Normal(0.0, 3.0))
    numpyro.sample("x", dist.Normal(0.0, jnp.exp(v / 2.0)).expand([9]).to_event(1))


def banana():
    a = numpyro.sample("a", dist.Normal(0.0, 3.0))
    numpyro.sample("b", dist.Normal(0.1 * (a**2 - 9.0), 1.0))


def two_modes(share):
    mixing = dist.Categorical(jnp.array([share, 1.0 - share]))
    numpyro.sample("x", dist.MixtureSameFamily(mixing, dist.Normal(jnp.array([-8.0, 8.0]), 1.0)))


def _off(fit, exact):
    """Return the largest mean error in sds, and the smallest and largest sd ratio."""
    errors, ratios = [], []
    for name, (mean, sd) in exact.items():
        errors.append(abs(fit.mean(name) - mean) / sd)
        ratios.append(fit.sd(name) / sd)
    return max(errors), min(ratios), max(ratios)


# b has the variance 1 + 0.01 * 2 * 3^4 of the square of a normal, on top of its own.
BANANA = {"a": (0.0, 3.0), "b": (0.0, np.sqrt(1.0 + 0.02 * 81.0))}


@EACH_SEED
def test_a_curved_posterior_is_held_by_a_flow(seed):
    fit = taut.fit(banana, seed=seed, progress=False)
    assert (fit.guide_name, fit.trust) == ("flow", "trusted")
    error, low, high = _off(fit, BANANA)
    assert error < MEAN_ERROR
    assert SD_RATIOS[0] < low <= high < SD_RATIOS[1]
    assert fit.log_evidence[0] == pytest.approx(0.0, abs=0.02)


@EACH_SEED
def test_a_curved_posterior_is_corrected_or_refused_as_a_gaussian(seed):
    fit = taut.fit(banana, guide="full-rank", seed=seed, progress=False)
    assert fit.trust != "trusted"
    error, low, high = _off(fit, BANANA)
    if fit.trust == "usable":
        assert error < MEAN_ERROR
        assert SD_RATIOS[0] < low <= high < SD_RATIOS[1]


@EACH_SEED
def test_a_funnel_is_held_by_a_flow(seed):
    fit = taut.fit(funnel, seed=seed, progress=False)
    assert fit.guide_name == "flow"
    assert fit.trust != "not trusted"
    error, low, high = _off(fit, {"v": (0.0, 3.0)})
    assert error < MEAN_ERROR
    assert 0.85 < low <= high < 1.15


@EACH_SEED
def test_a_funnel_is_not_believed_as_a_gaussian(seed):
    assert taut.fit(funnel, guide="full-rank", seed=seed, progress=False).trust == "not trusted"


def test_a_flow_is_saved_and_loaded(tmp_path):
    fit = taut.fit(funnel, progress=False)
    fit.save(tmp_path / "funnel.npz")
    again = taut.load(tmp_path / "funnel.npz", funnel)
    z = fit.guide.transform(np.random.default_rng(0).standard_normal((5, 10)))
    np.testing.assert_array_equal(again.guide.log_prob(z), fit.guide.log_prob(z))
    assert "triangular flow" in str(again)
    # Chains that go on walk in the flow's coordinates, down the neck too.
    assert again.sample(10_000)["v"].std() == pytest.approx(3.0, rel=0.15)


@EACH_SEED
def test_two_modes_are_held_with_their_shares(seed):
    share = 0.3
    fit = taut.fit(two_modes, share, seed=seed, progress=False)
    assert fit.guide_name == "mixture"
    assert fit.trust == "trusted"
    assert sorted(fit.guide.weights) == pytest.approx([0.3, 0.7], abs=0.01)
    # Chains are dealt out in whole numbers of 256: a share is right to half a chain.
    assert (fit.pool["x"] < 0).mean() == pytest.approx(share, abs=0.005)
    assert fit.log_evidence[0] == pytest.approx(0.0, abs=0.01)


def test_a_mixture_is_saved_and_loaded(tmp_path):
    fit = taut.fit(two_modes, 0.3, progress=False)
    fit.save(tmp_path / "two.npz")
    again = taut.load(tmp_path / "two.npz", two_modes, 0.3)
    np.testing.assert_array_equal(again.guide.weights, fit.guide.weights)
    assert "mixture of Gaussians" in str(again)
    longer = again.sample(10_000)["x"]
    # Chains that go on keep to their modes.
    assert (longer < 0).mean() == pytest.approx(0.3, abs=0.02)


def test_a_mixture_in_high_dimension_is_refused():
    def model():
        numpyro.sample("x", dist.Normal().expand([300]).to_event(1))

    with pytest.raises(taut.InputError, match="up to 256 latent values; the model has 300"):
        taut.fit(model, guide="mixture", progress=False)


def crescent():
    w = numpyro.sample("w", dist.Normal(0.0, 1.0))
    u = numpyro.sample("u", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(w**2 - u, 0.1), obs=jnp.array(1.0))


def _crescent_moments():
    # Given w, u is normal of mean (w**2 - 1) / 1.01 and variance 0.01 / 1.01.
    w = np.linspace(-6.0, 6.0, 4001)
    mass = np.exp(-0.5 * w**2 - 0.5 * (w**2 - 1.0) ** 2 / 1.01)
    mass /= mass.sum()
    given = (w**2 - 1.0) / 1.01
    mean = mass @ given
    sd = np.sqrt(mass @ (given - mean) ** 2 + 0.01 / 1.01)
    return {"w": (0.0, np.sqrt(mass @ w**2)), "u": (mean, sd)}


@EACH_SEED
def test_a_crescent_is_not_taken_for_two_solutions(seed):
    fit = taut.fit(crescent, seed=seed, progress=False)
    assert fit.guide_name == "flow"
    assert fit.trust != "not trusted"
    error, low, high = _off(fit, _crescent_moments())
    assert error < MEAN_ERROR
    assert SD_RATIOS[0] < low <= high < SD_RATIOS[1]


@pytest.mark.slow
def test_a_second_mode_in_the_tail_of_a_guide_is_noticed():
    # A Cauchy location: two of five points stand apart, with a thirteenth of the mass.
    def model(x):
        m = numpyro.sample("m", dist.Normal(0.0, 20.0))
        s = numpyro.sample("s", dist.HalfNormal(2.0))
        numpyro.sample("x", dist.Cauchy(m, s), obs=x)

    points = np.array([-4.0, -3.6, 4.8, 5.0, 5.3])
    fits = [taut.fit(model, points, seed=seed, progress=False) for seed in SEEDS]
    told = [f for fit in fits for f in fit.findings if f.name == "dip"]
    # Chains that never get there see nothing: 51 of 60 seeds tell of it. At that rate fewer than 7
    # of 11 do twice in a hundred times.
    assert len(told) >= 7
    # Those that have as many draws there as should be are believed, and are right.
    for fit in fits:
        (dip,) = [f for f in fit.findings if f.name == "dip"] or [None]
        if dip is not None and dip.level == "good":
            assert (fit.pool["m"] < 0.0).mean() == pytest.approx(1.0 / 13.0, abs=0.02)
        elif dip is not None:
            assert (fit.trust, dip.level) == ("usable", "doubt")
            assert 0.0 < dip.value < 0.15


@pytest.mark.parametrize("freedom", [1.0, 2.0])
def test_a_tail_without_a_variance_is_not_called_trusted(freedom):
    def model():
        numpyro.sample("x", dist.StudentT(freedom, 0.0, 1.0))

    fits = [taut.fit(model, seed=seed, progress=False) for seed in SEEDS]
    assert all(fit.trust != "trusted" for fit in fits)
    # The flow's own tails end before: the quantiles are those of draws that went on. Chains are
    # run until they are worth 1,500.
    shares = np.array([0.05, 0.5, 0.95])
    exact = st.t(freedom).ppf(shares)
    found = np.array([[(fit.pool["x"] < q).mean() for q in exact] for fit in fits])
    assert (np.abs(found - shares) < 4.0 * np.sqrt(shares * (1.0 - shares) / 1500.0)).all()


@EACH_SEED
def test_proper_posteriors_have_an_end_and_do_not_diverge(seed):
    fit = taut.fit(banana, seed=seed, progress=False)
    assert not {"integral", "draws", "divergences"} & {finding.name for finding in fit.findings}
