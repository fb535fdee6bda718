"""Posterior predictive draws: what is drawn, what is kept, and how often anything is compiled."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import numpy as jnp
from numpyro.contrib.control_flow import scan

import taut
from taut._core.errors import InputError
from taut.predictive.calls import check_numbers

QUIET = {"progress": False}


def standardised(y):
    """A model whose observed values are computed from its argument."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("score", dist.Normal(mu, 1.0), obs=(y - y.mean()) / y.std())


def groups(group, y=None):
    """A hierarchy that counts its groups."""
    count = len(np.unique(group))
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("group", count):
        theta = numpyro.sample("theta", dist.Normal(mu, 0.5))
    with numpyro.plate("rows", len(group)):
        numpyro.sample("y", dist.Normal(theta[group], 0.3), obs=y)


def counts(x, y=None):
    """Discrete data, which are only ever drawn and never fitted."""
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Poisson(rate * x), obs=y)


def walk(y=None, length=6):
    """A random walk seen with noise, inside a scan."""

    def step(state, seen):
        state = numpyro.sample("state", dist.Normal(state, 0.5))
        numpyro.sample("y", dist.Normal(state, 0.1), obs=seen)
        return state, None

    start = numpyro.sample("start", dist.Normal(0.0, 1.0))
    scan(step, start, y, length=length)


def seed_argument(seed, y=None):
    """A model that has an argument with the name of an option."""
    mu = numpyro.sample("mu", dist.Normal(seed, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


GROUP = np.array([0, 0, 0, 1, 1, 2, 2, 2])


@pytest.fixture(scope="module")
def group_fit():
    y = np.random.default_rng(0).normal(size=3)[GROUP] + 0.1
    return taut.fit(groups, GROUP, y=y, **QUIET)


@pytest.mark.parametrize("seed", range(3))
def test_moments_are_those_of_the_closed_form(regression, regression_fit, within_error, seed):
    new = np.random.default_rng(seed).normal(size=(5, 2))
    made = regression_fit.predict(new, seed=seed)["y"]
    design = np.column_stack([np.ones(5), new])
    mean = design @ regression.mean
    variance = np.einsum("ij,jk,ik->i", design, regression.covariance, design) + 0.5**2
    within_error(made.mean(axis=0), mean, np.sqrt(variance / len(made)))
    within_error(made.var(axis=0), variance, variance * np.sqrt(2 / len(made)))


def test_the_training_call_draws_the_data_anew(regression, regression_fit):
    made = regression_fit.predict(regression.x, y=regression.y)
    assert list(made) == ["line", "y"]
    assert made["y"].shape == (4000, 12)
    assert not np.any(made["y"] == np.float32(regression.y))
    again = regression_fit.predict()
    np.testing.assert_array_equal(again["y"], made["y"])


def test_a_row_belongs_to_the_same_row_of_sample(regression, regression_fit, same_to_rounding):
    for seed in (0, 5):
        made = regression_fit.predict(regression.x, draws=300, seed=seed)
        drawn = regression_fit.sample(300, seed)
        same_to_rounding(made["line"], drawn["line"], np.float32)


def test_seeds_decide(regression, regression_fit):
    first, second = (regression_fit.predict(regression.x, draws=50, seed=s)["y"] for s in (1, 2))
    again = regression_fit.predict(regression.x, draws=50, seed=1)["y"]
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == second)


def test_computed_observations_are_drawn_anew():
    y = np.random.default_rng(1).normal(3.0, 2.0, size=20)
    made = taut.fit(standardised, y, **QUIET).predict(y, draws=100)["score"]
    assert np.all(made.std(axis=0) > 0.5)


def test_data_without_a_plate_are_replicated_one_by_one(within_error):
    def model(x=1.0, y=None):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu * x, 1.0), obs=y)

    y = np.random.default_rng(6).normal(size=(4, 5))
    fit = taut.fit(model, y=y, **QUIET)
    made = fit.predict()["y"]
    assert made.shape == (4000, 4, 5)
    within_error((made[:, 0, 0] - made[:, 1, 2]).var(), 2.0, 2.0 * np.sqrt(2 / 4000))
    # Old data beside new covariates say nothing of how many there are.
    assert fit.predict(np.ones(3), y=y)["y"].shape == (4000, 3)


def test_conditioned_sites_are_drawn_anew():
    def model():
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu, 1.0))

    seen = numpyro.handlers.condition(model, data={"y": jnp.array(0.5)})
    made = taut.fit(seen, **QUIET).predict(draws=100)
    assert len(np.unique(made["y"])) == 100


def test_discrete_sites_are_drawn(within_error):
    x = np.linspace(1.0, 3.0, 8)
    fit = taut.fit(counts, x, y=np.arange(8), **QUIET)
    made = fit.predict(np.array([2.0]))["y"]
    assert np.issubdtype(made.dtype, np.integer)
    rate = 2.0 * fit.sample()["rate"]
    variance = rate.mean() + rate.var()
    within_error(made.mean(), rate.mean(), np.sqrt(variance / len(made)))


def test_a_scan_is_drawn_and_goes_on_past_its_data():
    y = np.cumsum(np.random.default_rng(2).normal(size=6))
    fit = taut.fit(walk, y, **QUIET)
    made = fit.predict(y)["y"]
    assert made.shape == (4000, 6)
    assert np.all(made.std(axis=0) > 0.05)
    ahead = fit.predict(length=9)["y"]
    assert ahead.shape == (4000, 9)
    # Beyond the data the walk's variance grows by 0.25 a step.
    spread = ahead.var(axis=0)
    assert np.all(np.diff(spread[5:]) > 0.25 / 2)


def test_local_latents_of_another_size_are_refused_or_drawn(group_fit):
    with pytest.raises(InputError, match=r"'theta' has shape \(2,\) in this call and \(3,\)") as e:
        group_fit.predict(np.array([0, 1, 1]))
    assert "anew=['theta']" in str(e.value)
    made = group_fit.predict(np.array([0, 1, 1]), anew=["theta"])
    assert list(made) == ["theta", "y"]
    assert made["y"].shape == (4000, 3)


def test_options_are_checked(group_fit):
    with pytest.raises(InputError, match=r"did you mean 'theta'"):
        group_fit.predict(GROUP, anew=["thetta"])
    with pytest.raises(InputError, match=r"3 problems"):
        group_fit.predict(GROUP, draws=0, seed=-1, megabytes=0)
    with pytest.raises(InputError, match=r"takes no argument 'groop' \(did you mean 'group'"):
        group_fit.predict(groop=GROUP)


@pytest.mark.parametrize("wrong", ["a", 2.5, None, True])
def test_numbers_of_draws_and_seeds_that_are_none(wrong):
    with pytest.raises(InputError) as caught:
        check_numbers(wrong, wrong, name="n")
    assert caught.value.problems == (
        f"n must be a whole number, one or more; got {wrong!r}",
        f"seed must be a whole number, zero or more; got {wrong!r}",
    )


def test_arguments_with_names_of_options_go_by_position():
    fit = taut.fit(taut.target(seed_argument, 3.0, y=np.array(2.0)), **QUIET)
    assert fit.predict(3.0)["y"].shape == (4000,)
    with pytest.raises(InputError, match=r"'seed' has the name of an option"):
        fit.predict(seed=3, y=None)


def test_new_data_of_the_same_shapes_compile_nothing(regression, regression_fit, compilations):
    regression_fit.predict(regression.x)
    with compilations() as count:
        regression_fit.predict(regression.x + 1.0, seed=3)
    assert count == [0]


def test_a_small_bound_on_memory_makes_smaller_chunks_and_the_same_draws(
    regression, regression_fit, same_to_rounding
):
    whole = regression_fit.predict(regression.x, draws=500)["y"]
    # 12 rows of y and line take 96 bytes a draw: some 20 draws a chunk.
    pieces = regression_fit.predict(regression.x, draws=500, megabytes=0.002)["y"]
    same_to_rounding(pieces, whole, np.float32)


def test_a_log_density_has_nothing_to_predict():
    fit = taut.fit(taut.from_log_density(lambda x: -(x**2) / 2, jnp.zeros(())), **QUIET)
    with pytest.raises(InputError, match="no observed sites"):
        fit.predict()


def test_a_factor_cannot_be_predicted():
    def model(y):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        numpyro.factor("likelihood", -jnp.sum((y - mu) ** 2))

    fit = taut.fit(model, np.array([0.1, 0.4]), **QUIET)
    with pytest.raises(InputError, match="nothing to predict"):
        fit.predict()


def test_a_loaded_fit_predicts_with_its_model_alone(regression, regression_fit, tmp_path):
    regression_fit.save(tmp_path / "fit.npz")
    with pytest.raises(InputError, match=r"taut.load\(path, model\)"):
        taut.load(tmp_path / "fit.npz").predict(regression.x)
    loaded = taut.load(tmp_path / "fit.npz", regression.model)
    with pytest.raises(InputError, match="needs the model and its data"):
        loaded.predict()
    new = regression.x[:5]
    np.testing.assert_array_equal(
        loaded.predict(new, draws=100)["y"], regression_fit.predict(new, draws=100)["y"]
    )


def test_the_prior_of_a_fit_is_that_of_its_model(regression, regression_fit, within_error):
    made = regression_fit.prior(seed=2)
    assert list(made) == ["a", "b", "line", "y"]
    within_error(made["a"].var(), 4.0, 4.0 * np.sqrt(2 / 4000))


def test_observed_data_made_by_the_model_are_known(regression, regression_fit, same_to_rounding):
    y = np.random.default_rng(1).normal(3.0, 2.0, size=20)
    seen = taut.fit(standardised, y, **QUIET).observed
    same_to_rounding(seen["score"], (y - y.mean()) / y.std(), np.float32)
    same_to_rounding(regression_fit.observed["y"], regression.y, np.float32)
