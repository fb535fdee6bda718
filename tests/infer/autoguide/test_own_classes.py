"""Guide classes of a user's own, which state the distribution of the latent vector."""

import pickle

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.infer.autoguide
import pytest
from jax import random
from numpyro import optim
from numpyro.distributions import constraints
from numpyro.infer.reparam import NeuTraReparam

import taut.infer
from taut import InputError
from taut._core.errors import UnsupportedError
from taut.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, autoguide

Y = np.array([0.5, 1.5, 1.0, 2.0])


def model(y=None):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("pair", 2):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.deterministic("total", mu.sum())
    with numpyro.plate("rows", 4):
        numpyro.sample("y", dist.Normal(mu.sum(), scale), obs=y)


def heavy_tailed(base):
    class AutoStudentT(base):
        def _get_posterior(self):
            loc = numpyro.param(f"{self.prefix}_loc", self._init_latent)
            scale = numpyro.param(
                f"{self.prefix}_scale",
                jnp.full(self.latent_dim, 0.1),
                constraint=constraints.positive,
            )
            return dist.StudentT(5.0, loc, scale).to_event(1)

    return AutoStudentT


class AutoMoved(autoguide.AutoContinuous):
    """With params of other names, made from the starting vector in NumPyro's and JAX's ways."""

    def _get_posterior(self):
        start = self._init_latent
        assert start.shape == jnp.shape(start) == (len(start),)
        shift = numpyro.param("shift", jnp.zeros_like(start))
        loc = numpyro.param("my_loc", 0.5 + start * 2.0)
        first = numpyro.param("first", start[0] + jnp.array(start).sum())
        base = dist.Normal(jnp.zeros(start.size), 1.0).to_event(1)
        moved = dist.transforms.AffineTransform(loc + shift + 0.0 * first, 0.1)
        return dist.TransformedDistribution(base, moved)


class AutoScalar(autoguide.AutoContinuous):
    def _get_posterior(self):
        return dist.Normal(numpyro.param("loc", 0.0), 1.0)


def fitted(guide, steps=300, key=0):
    svi = SVI(model, guide, optim.Adam(0.02), Trace_ELBO())
    return svi.run(random.key(key), steps, Y, progress_bar=False)


def test_the_losses_and_draws_of_a_class_are_those_of_numpyro():
    ours = heavy_tailed(autoguide.AutoContinuous)(model)
    theirs = heavy_tailed(numpyro.infer.autoguide.AutoContinuous)(model)
    found = fitted(ours, 100)
    svi = numpyro.infer.SVI(model, theirs, optim.Adam(0.02), numpyro.infer.Trace_ELBO())
    expected = svi.run(random.key(0), 100, Y, progress_bar=False)
    # The same arithmetic: rounding grows over a hundred steps of single precision.
    np.testing.assert_allclose(found.losses, expected.losses, rtol=2e-4)
    draws = ours.sample_posterior(random.key(1), expected.params, sample_shape=(5,))
    same = theirs.sample_posterior(random.key(1), expected.params, sample_shape=(5,))
    for name in ("scale", "mu", "total"):
        np.testing.assert_allclose(draws[name], same[name], rtol=1e-4, atol=1e-5)
    assert isinstance(ours.get_posterior(expected.params), dist.Independent)


def test_medians_predictions_and_pickles_of_a_class_work_as_those_of_others():
    guide = heavy_tailed(autoguide.AutoContinuous)(model)
    params = fitted(guide).params
    median = guide.median(params)
    assert median["mu"].shape == (2,)
    assert median["scale"] > 0
    quantiles = guide.quantiles(params, [0.1, 0.9])
    assert np.all(quantiles["mu"][0] < median["mu"])
    assert np.all(median["mu"] < quantiles["mu"][1])
    draws = Predictive(model, guide=guide, params=params, num_samples=7)(random.key(2))
    assert draws["y"].shape == (7, 4)
    assert guide.covariance(params, "mu").shape == (2, 2)


def test_a_guide_of_a_class_compiles_nothing_for_other_data(compilations):
    svi = SVI(model, heavy_tailed(autoguide.AutoContinuous)(model), optim.Adam(0.02), Trace_ELBO())
    svi.run(random.key(0), 5, Y, progress_bar=False)
    with compilations() as compiled:
        svi.run(random.key(1), 5, 2.0 * Y, progress_bar=False)
    assert compiled == [0]


SPREAD = 1e-3


class AutoOfGlobal(autoguide.AutoContinuous):
    def _get_posterior(self):
        return dist.Normal(numpyro.param("auto_loc", self._init_latent), SPREAD)


@pytest.mark.parametrize("anew", [False, True])
def test_what_a_class_reads_may_change_between_runs(monkeypatch, anew):
    guide, losses = AutoOfGlobal(model), []
    for spread in (1e-3, 1e-1):
        monkeypatch.setitem(globals(), "SPREAD", spread)
        losses.append(fitted(AutoOfGlobal(model) if anew else guide, 5).losses)
    # The entropies of three latents differ by three times the logarithm of the spreads.
    assert np.mean(losses[0] - losses[1]) > 1.5 * np.log(100.0)


def test_the_starting_vector_can_be_calculated_with():
    guide = AutoMoved(model)
    svi = SVI(model, guide, optim.Adam(0.02), Trace_ELBO())
    state = svi.init(random.key(0), Y)
    start = svi.get_params(state)
    assert start["my_loc"].shape == (3,)
    assert np.all(start["shift"] == 0)
    # Starting vectors are uniform on (-2, 2).
    assert np.all(np.abs(start["my_loc"] - 0.5) <= 4.0)
    assert np.ptp(start["my_loc"]) > 0
    again = pickle.loads(pickle.dumps(guide))
    result = fitted(again)
    assert np.mean(result.losses[-50:]) < np.mean(result.losses[:10])


@pytest.mark.slow
def test_nuts_walks_in_the_coordinates_of_a_class_that_has_a_map():
    guide = AutoMoved(model)
    neutra = NeuTraReparam(guide, fitted(guide).params)
    mcmc = MCMC(NUTS(neutra.reparam(model)), num_warmup=20, num_samples=20, progress_bar=False)
    mcmc.run(random.key(1), Y)
    assert neutra.transform_sample(mcmc.get_samples()["auto_shared_latent"])["mu"].shape == (20, 2)
    plain = heavy_tailed(autoguide.AutoContinuous)(model)
    with pytest.raises(UnsupportedError, match="define get_transform"):
        plain.get_transform(fitted(plain, 5).params)


def test_a_class_made_from_a_gaussian_guide_has_the_distribution_it_states():
    class AutoTight(autoguide.AutoDiagonalNormal):
        def _get_posterior(self):
            return dist.Normal(numpyro.param("auto_loc", self._init_latent), 1e-3)

    guide = AutoTight(model)
    params = fitted(guide).params
    assert params.keys() == {"auto_loc"}
    draws = guide.sample_posterior(random.key(0), params, sample_shape=(100,))
    assert np.std(draws["mu"][:, 0]) < 2e-3


def test_a_class_can_be_part_of_a_list():
    guide = autoguide.AutoGuideList(model)
    mine = heavy_tailed(autoguide.AutoContinuous)
    guide.append(mine(numpyro.handlers.block(model, hide=["scale"]), prefix="mine"))
    guide.append(autoguide.AutoNormal(numpyro.handlers.block(model, hide=["mu"])))
    assert {"mine_loc", "mine_scale"} <= fitted(guide).params.keys()


def test_a_distribution_of_another_shape_is_an_error_that_names_both():
    with pytest.raises(InputError, match=r"AutoScalar.*Normal of shape \(\).*shape \(3,\)"):
        fitted(AutoScalar(model))


def test_a_class_without_a_distribution_cannot_be_made():
    class Nothing(autoguide.AutoContinuous):
        pass

    with pytest.raises(TypeError, match="_get_posterior"):
        Nothing(model)
    assert taut.infer.autoguide.AutoContinuous is autoguide.AutoContinuous
