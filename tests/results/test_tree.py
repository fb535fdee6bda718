"""The ArviZ tree of real fits: groups, dimensions, log likelihoods, and what ArviZ makes of it."""

import dataclasses
import json
from importlib import metadata

import arviz_stats
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
import xarray as xr
from extras import needs
from jax import numpy as jnp

import taut
from taut._core.errors import InputError
from taut.results.data_axes import with_data_axes
from taut.results.tree import make_tree

QUIET = {"progress": False}


def group_names(tree):
    """The groups of a tree, whichever of the two objects it is."""
    return set(tree.children if isinstance(tree, xr.DataTree) else tree.groups())


def schools(sigma, y=None):
    """A hierarchy in its non-centred form, whose plate has the name of an argument."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = numpyro.sample("tau", dist.HalfNormal(5.0))
    with numpyro.plate("school", sigma.shape[0]):
        unit = numpyro.sample("unit", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * unit)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def pairs(y):
    """Vector-valued observations, under a scale that is no part of a log likelihood."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 5.0).expand([2]).to_event(1))
    with numpyro.plate("rows", y.shape[0]), numpyro.handlers.scale(scale=3.0):
        numpyro.sample("pair", dist.MultivariateNormal(mean, jnp.eye(2)), obs=y - 1.0)


SIGMA = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
EFFECT = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
PAIRS = np.random.default_rng(3).normal(size=(10, 2)) + 1.0


@pytest.fixture(scope="module")
def schools_fit():
    return taut.fit(schools, SIGMA, y=EFFECT, **QUIET)


@pytest.fixture(scope="module")
def trees(regression_fit, schools_fit):
    pairs_fit = taut.fit(pairs, PAIRS, **QUIET)
    return {
        "regression": regression_fit.to_arviz(),
        "schools": schools_fit.to_arviz(coords={"school": list("ABCDEFGH")}),
        "pairs": pairs_fit.to_arviz(),
    }


@pytest.mark.parametrize("name", ["regression", "schools", "pairs"])
def test_arviz_runs_on_it(trees, name):
    tree = trees[name]
    assert group_names(tree) == {
        *("posterior", "sample_stats", "observed_data", "constant_data", "log_likelihood"),
        *("posterior_predictive", "prior", "prior_predictive"),
    }
    table = arviz_stats.summary(tree, round_to="none")
    assert table["mean"].notna().all()
    assert table["r_hat"].isna().all()
    loo = arviz_stats.loo(tree, pointwise=True)
    assert np.isfinite(loo.elpd)
    assert len(loo.pareto_k) == {"regression": 12, "schools": 8, "pairs": 10}[name]


def test_axes_are_plates(trees):
    tree = trees["schools"]
    assert tree["posterior"]["theta"].dims == ("chain", "draw", "school")
    assert tree["posterior"]["unit"].dims == ("chain", "draw", "school")
    assert tree["observed_data"]["y"].dims == ("school",)
    assert tree["log_likelihood"]["y"].dims == ("chain", "draw", "school")
    assert tree["posterior_predictive"]["y"].dims == ("chain", "draw", "school")
    assert list(tree["posterior"]["theta"]["school"].values) == list("ABCDEFGH")
    assert trees["pairs"]["observed_data"]["pair"].dims == ("rows", "pair_dim_1")
    assert trees["pairs"]["log_likelihood"]["pair"].dims == ("chain", "draw", "rows")


def test_data_lie_along_the_plate_of_their_length(trees, schools_fit, tmp_path):
    schools = trees["schools"]
    assert schools["constant_data"]["sigma"].dims == ("school",)
    assert list(schools["constant_data"]["school"].values) == list("ABCDEFGH")
    assert trees["regression"]["constant_data"]["x"].dims == ("rows", "features")
    schools_fit.save(tmp_path / "fit.npz")
    assert taut.load(tmp_path / "fit.npz").to_arviz()["observed_data"]["y"].dims == ("school",)


def test_a_length_that_leaves_a_choice_names_no_axis():
    drawn = {"a": np.ones((5, 3)), "b": np.ones((5, 4)), "c": np.ones((5, 4))}
    plates = {"a": ("three",), "b": ("four",), "c": ("other four",), "seen": ("rows", None)}
    observed = {"seen": np.ones((7, 3)), "bare": np.ones((3, 7)), "vector": np.ones((2, 3))}
    constant = {
        "x": np.ones((7, 4)),
        "square": np.ones((3, 3)),
        "one": np.ones(1),
        "s": np.ones(()),
    }
    along = with_data_axes(plates, drawn, observed, constant)
    assert {name: tuple(along[name]) for name in (*observed, *constant)} == {
        "seen": ("rows", None),
        "bare": ("three",),
        "vector": (None,),
        "x": ("rows", None),
        "square": (None, None),
        "one": (None,),
        "s": (),
    }


def test_log_likelihoods_are_those_of_single_observations(trees, same_to_rounding):
    tree = trees["pairs"]
    mean = tree["posterior"]["mean"].values[0]
    np.testing.assert_array_equal(tree["observed_data"]["pair"], np.float32(PAIRS) - 1)
    away = (PAIRS - 1.0)[None] - mean[:, None]
    expected = -0.5 * (away**2).sum(axis=-1) - np.log(2 * np.pi)
    same_to_rounding(tree["log_likelihood"]["pair"][0], expected, np.float32)


def test_loo_agrees_with_leaving_out_in_closed_form(regression, trees, within_error):
    design = np.column_stack([np.ones(12), regression.x])
    exact = 0.0
    for row in range(12):
        kept = np.arange(12) != row
        precision = design[kept].T @ design[kept] / 0.25 + np.eye(3) / 4.0
        mean = np.linalg.solve(precision, design[kept].T @ regression.y[kept] / 0.25)
        variance = design[row] @ np.linalg.solve(precision, design[row]) + 0.25
        exact += scipy.stats.norm(design[row] @ mean, np.sqrt(variance)).logpdf(regression.y[row])
    found = arviz_stats.loo(trees["regression"], pointwise=True)
    # log of a mean of 1 / p(y_i | draw): its error is the relative sd of that over sqrt(draws).
    inverse = np.exp(-trees["regression"]["log_likelihood"]["y"].values[0].astype(float))
    errors = inverse.std(axis=0) / inverse.mean(axis=0) / np.sqrt(len(inverse))
    within_error(found.elpd, exact, errors.sum())


def test_data_that_are_not_observed_are_constant(trees, regression):
    assert set(trees["regression"]["constant_data"]) == {"x"}
    np.testing.assert_array_equal(trees["regression"]["constant_data"]["x"], regression.x)
    assert trees["schools"]["constant_data"]["sigma"].shape == (8,)


def test_draws_densities_and_weights_belong_together(trees, regression_fit):
    stats = trees["regression"]["sample_stats"]
    assert set(stats.data_vars) == {"log_p", "log_q", "weights"}
    assert float(stats["weights"].sum()) == pytest.approx(1.0)
    posterior = trees["regression"]["posterior"]
    sites = {name: posterior[name].values[0] for name in ("a", "b")}
    np.testing.assert_allclose(
        regression_fit.log_prob(sites), stats["log_q"].values[0], rtol=1e-5, atol=1e-4
    )


def test_attributes(trees):
    attributes = trees["schools"].attrs
    assert attributes["trust"] in ("trusted", "usable", "not trusted")
    assert attributes["seed"] == 0
    assert attributes["taut_version"] == taut.__version__
    assert "left_out" not in attributes
    for group in ("posterior", "constant_data"):
        assert trees["schools"][group].attrs["draws"] == attributes["draws"]
    assert "R-hat has no meaning" in attributes["draws"]


def test_attributes_say_where_the_draws_come_from(schools_fit):
    words = {
        "chains": "short HMC chains",
        "weights": "importance weights",
        "guide": "the guide's own",
    }
    for source in words:
        pool = dataclasses.replace(schools_fit.latent_pool, source=source)
        record = dataclasses.replace(schools_fit._record, pool=pool)
        attributes = make_tree(record, None, None, None, ["posterior"]).attrs
        assert attributes["draws_from"] == source
        assert {name for name, phrase in words.items() if phrase in attributes["draws"]} == {source}


def test_groups_can_be_chosen(schools_fit):
    tree = schools_fit.to_arviz(groups=["posterior", "log_likelihood"])
    assert group_names(tree) == {"posterior", "log_likelihood"}
    with pytest.raises(InputError, match="did you mean 'log_likelihood'"):
        schools_fit.to_arviz(groups=["log_likelihod"])


def test_what_cannot_be_made_is_left_out_and_said(schools_fit, tmp_path):
    schools_fit.save(tmp_path / "fit.npz")
    loaded = taut.load(tmp_path / "fit.npz")
    tree = loaded.to_arviz()
    assert group_names(tree) == {"posterior", "sample_stats", "observed_data"}
    assert set(json.loads(tree.attrs["left_out"])) == {
        *("posterior_predictive", "log_likelihood", "prior", "prior_predictive", "constant_data")
    }
    with pytest.raises(InputError, match="needs the model and its data"):
        loaded.to_arviz(groups=["prior"])


def test_a_large_group_is_made_only_by_name(schools_fit, monkeypatch):
    monkeypatch.setattr("taut.results.group_size.LARGEST_GROUP", 1e5)
    tree = schools_fit.to_arviz()
    assert "log_likelihood" not in tree
    assert "groups=['log_likelihood'" in json.loads(tree.attrs["left_out"])["log_likelihood"]
    assert "log_likelihood" in schools_fit.to_arviz(groups=["log_likelihood"])


def test_an_improper_prior_is_left_out():
    def model(y):
        mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    tree = taut.fit(model, np.array([0.1, 0.3]), **QUIET).to_arviz()
    assert "prior" not in tree
    assert "improper" in json.loads(tree.attrs["left_out"])["prior"]
    assert "log_likelihood" in tree


def test_a_plate_with_the_name_of_an_argument():
    def model(x, y):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("x", y.shape[0]):
            numpyro.sample("y", dist.Normal(mu * x, 1.0), obs=y)

    tree = taut.fit(model, np.array([1.0, 2.0]), np.array([0.1, 0.3]), **QUIET).to_arviz()
    assert tree["observed_data"]["y"].dims == ("x_dim",)
    assert set(tree["constant_data"]) == {"x"}


def test_netcdf_round_trip(trees, tmp_path):
    trees["schools"].to_netcdf(tmp_path / "fit.nc")
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as back:
        assert set(back.children) == group_names(trees["schools"])
        np.testing.assert_array_equal(
            back["log_likelihood"]["y"], trees["schools"]["log_likelihood"]["y"]
        )


@pytest.mark.parametrize("name", ["regression", "schools", "pairs"])
@pytest.mark.filterwarnings("ignore::matplotlib.MatplotlibDeprecationWarning")
def test_the_installed_arviz_runs_on_it(trees, name):
    needs("arviz")
    import arviz
    import matplotlib.pyplot as plt

    tree = trees[name]
    draws = (arviz.plot_forest, arviz.plot_pair)
    if arviz.__version__.startswith("0."):
        draws += (arviz.plot_posterior, arviz.plot_trace)
        assert np.size(arviz.plot_ppc(tree, num_pp_samples=20, random_seed=1)) > 0
    else:
        draws += (arviz.plot_dist, arviz.plot_ppc_dist)
    for draw in draws:
        names = {} if "ppc" in draw.__name__ else {"var_names": list(tree["posterior"])[:2]}
        assert draw(tree, **names) is not None
    assert arviz.summary(tree)["mean"].notna().all()
    loo = arviz.loo(tree)
    assert np.isfinite(loo.elpd_loo if hasattr(loo, "elpd_loo") else loo.elpd)
    plt.close("all")


@pytest.mark.parametrize(("version", "kind"), [("1.3.0", "DataTree"), ("0.23.4", "InferenceData")])
def test_the_tree_is_what_the_installed_arviz_reads(schools_fit, monkeypatch, version, kind):
    if kind == "InferenceData":
        needs("arviz")
        if not metadata.version("arviz").startswith("0."):
            pytest.skip("only ArviZ 0.x has it")
    monkeypatch.setattr("taut.report.arviz.metadata.version", lambda name: version)
    tree = schools_fit.to_arviz(groups=["posterior"])
    assert type(tree).__name__ == kind
    assert tree.attrs["trust"] == schools_fit.trust
    assert tree["posterior"]["theta"].dims == ("chain", "draw", "school")
