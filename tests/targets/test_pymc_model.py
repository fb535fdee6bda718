"""PyMC models: their own log density, names, dims and data, and PyMC's NUTS as the judge."""

import logging
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest
from extras import needs

import taut
from taut._core.precision import precision_of

DOUBLE = np.dtype(np.float64)
SIGMA = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
Y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])


@pytest.fixture(scope="module")
def pm():
    needs("pymc")
    logging.getLogger("pytensor").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pymc

        return pymc


@pytest.fixture(scope="module")
def schools(pm):
    with pm.Model(coords={"school": list("ABCDEFGH")}) as model:
        sigma = pm.Data("sigma", SIGMA, dims="school")
        mu = pm.Normal("mu", 0.0, 5.0)
        tau = pm.HalfNormal("tau", 5.0)
        unit = pm.Normal("unit", 0.0, 1.0, dims="school")
        theta = pm.Deterministic("theta", mu + tau * unit, dims="school")
        pm.Normal("y", theta, sigma, observed=Y, dims="school")
    return model


@pytest.fixture(scope="module")
def twisted(pm):
    """Every kind of transformation, one with bounds that depend on another variable."""
    with pm.Model() as model:
        a = pm.Normal("a", 0.0, 1.0)
        b = pm.Uniform("b", a - 1.0, a + 1.0)
        pm.Dirichlet("p", np.ones(3))
        ordered = pm.distributions.transforms.ordered
        pm.Normal("o", 0.0, 1.0, shape=3, transform=ordered, initval=[-1.0, 0.0, 1.0])
        c = pm.Gamma("c", 2.0, 1.0, shape=(2, 2))
        pm.Potential("pull", -0.1 * a**2)
        pm.Poisson("n", c, observed=np.array([[1, 2], [0, 3]]))
        pm.Normal("x", b, 1.0, observed=0.3)
    return model


@pytest.fixture(scope="module")
def fit(schools):
    return taut.fit(schools, progress=False)


def points(model, count=3):
    rng = np.random.default_rng(5)
    start = model.initial_point()
    for _ in range(count):
        point = {name: value + rng.normal(size=np.shape(value)) for name, value in start.items()}
        yield point, np.concatenate([np.ravel(point[v.name]) for v in model.value_vars])


def test_the_log_density_is_pymc_s(pm, schools, twisted):
    for model in (schools, twisted):
        target = taut.target(model)
        with_jacobian, without = model.compile_logp(), model.compile_logp(jacobian=False)
        for point, z in points(model):
            with precision_of(DOUBLE):
                values = target.constrain(z)
                back, jacobian = target.unconstrain(
                    {site.name: values[site.name] for site in target.program.sites}
                )
                whole, joint = float(with_jacobian(point)), float(without(point))
                assert float(target.log_density(z)) == pytest.approx(whole, rel=1e-12)
                assert float(target.log_joint(values)) == pytest.approx(joint, rel=1e-12)
                assert float(jacobian) == pytest.approx(whole - joint, abs=1e-12 * abs(whole))
                np.testing.assert_allclose(back, z, rtol=1e-9, atol=1e-9)


def test_values_have_the_model_s_names_shapes_and_supports(twisted):
    target = taut.target(twisted)
    shapes = {site.name: site.shape for site in target.program.sites}
    assert shapes == {"a": (), "b": (), "p": (3,), "o": (3,), "c": (2, 2)}
    assert target.dim == 1 + 1 + 2 + 3 + 4
    for _, z in points(twisted):
        with precision_of(DOUBLE):
            values = {name: np.asarray(v) for name, v in target.constrain(z).items()}
        assert values["p"].sum() == pytest.approx(1.0)
        assert (np.diff(values["o"]) > 0).all()
        assert (values["c"] > 0).all()
        assert abs(values["b"] - values["a"]) < 1.0


def test_the_posterior_is_that_of_pymc_s_nuts(pm, schools, fit):
    logging.getLogger("pymc").setLevel(logging.ERROR)
    trace = pm.sample(
        draws=1000,
        tune=1000,
        chains=2,
        cores=1,
        random_seed=1,
        model=schools,
        progressbar=False,
        compute_convergence_checks=False,
        target_accept=0.95,
    )
    draws = {
        name: trace.posterior[name].values.reshape(2000, *fit.pool[name].shape[1:])
        for name in ("mu", "tau", "unit", "theta")
    }
    ess = pm.ess(trace)
    fitted = fit.summary()
    for name, values in draws.items():
        for index in np.ndindex(values.shape[1:]):
            label = f"{name}[{index[0]}]" if index else name
            column = values[(slice(None), *index)]
            error = column.std() / np.sqrt(float(ess[name].values[index]))
            error = np.hypot(error, fitted[label]["mcse"])
            assert abs(fitted[label]["mean"] - column.mean()) < 5 * error, label


def test_dims_coords_and_data_reach_arviz(fit):
    needs("arviz_base")
    tree = fit.to_arviz()
    assert tree["posterior"]["theta"].dims == ("chain", "draw", "school")
    assert tree["posterior"]["unit"]["school"].values.tolist() == list("ABCDEFGH")
    np.testing.assert_array_equal(tree["observed_data"]["y"], Y)
    np.testing.assert_array_equal(tree["constant_data"]["sigma"], SIGMA)
    assert tree["prior"]["tau"].shape == (1, 1000)
    assert tree["prior_predictive"]["y"].shape == (1, 1000, 8)
    assert "pymc_version" in tree.attrs
    theta = tree["posterior"]["theta"].values
    expected = -0.5 * ((Y - theta) / SIGMA) ** 2 - np.log(SIGMA) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(tree["log_likelihood"]["y"], expected, rtol=1e-9)
    np.testing.assert_allclose(
        theta,
        tree["posterior"]["mu"].values[..., None]
        + tree["posterior"]["tau"].values[..., None] * tree["posterior"]["unit"].values,
        rtol=1e-9,
    )


def test_predictions_are_made_at_the_fitted_draws(fit, within_error):
    draws = fit.sample(2000)
    made = fit.predict(draws=2000)
    assert set(made) == {"y", "theta"}
    # Row i belongs to draw i: the deterministic value shows it.
    np.testing.assert_allclose(made["theta"], draws["theta"], rtol=1e-9)
    residual = (made["y"] - draws["theta"]) / SIGMA
    within_error(residual.mean(), 0.0, 1.0 / np.sqrt(residual.size))
    within_error(residual.std(), 1.0, 1.0 / np.sqrt(2 * residual.size))
    with pytest.raises(taut.InputError, match=r"pm\.set_data"):
        fit.predict(SIGMA)


def test_the_prior_is_pymc_s(schools, within_error):
    draws = taut.prior(schools, draws=500)
    assert {name: value.shape for name, value in draws.items()} == {
        **{"mu": (500,), "tau": (500,), "unit": (500, 8), "theta": (500, 8), "y": (500, 8)}
    }
    expected = draws["mu"][:, None] + draws["tau"][:, None] * draws["unit"]
    np.testing.assert_allclose(draws["theta"], expected, rtol=1e-9)
    within_error(draws["mu"].mean(), 0.0, 5.0 / np.sqrt(500))


def test_new_data_of_the_same_shapes_compile_nothing(pm, schools, fit):
    before = taut.target(schools).program
    with schools:
        pm.set_data({"sigma": 2.0 * SIGMA})
    try:
        changed = taut.target(schools)
        assert changed.program is before
        np.testing.assert_array_equal(changed.data[0], 2.0 * SIGMA)
        (point, z) = next(points(schools))
        with precision_of(DOUBLE):
            value = float(changed.log_density(z))
        assert value == pytest.approx(float(schools.compile_logp()(point)))
    finally:
        with schools:
            pm.set_data({"sigma": SIGMA})


def test_a_changed_model_is_read_anew(pm):
    with pm.Model() as model:
        pm.Normal("a", 0.0, 1.0)
    first = taut.target(model)
    with model:
        pm.Normal("b", 0.0, 1.0)
    assert first.dim == 1
    assert taut.target(model).dim == 2


def test_the_precision_of_jax_is_left_alone(fit):
    assert not jax.config.jax_enable_x64
    assert fit.guide.mean().dtype == DOUBLE


def test_a_fit_is_saved_and_loaded_with_its_model(schools, fit, tmp_path):
    fit.save(tmp_path / "fit.npz")
    alone = taut.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(alone.sample(5)["theta"], fit.sample(5)["theta"])
    again = taut.load(tmp_path / "fit.npz", schools)
    sites = {name: values[:3] for name, values in fit.sample(3).items()}
    np.testing.assert_allclose(again.log_prob(sites), fit.log_prob(sites), rtol=1e-12)
    # The graph is traced once more for another number of rows.
    more = {name: values[:4] for name, values in fit.sample(4).items()}
    assert np.isfinite(again.log_prob(more)).all()


def test_nuts_runs_on_the_graph(schools, fit):
    run = taut.nuts(schools, start=fit, draws=50, warmup=20, chains=2, progress=False)
    assert run.values["theta"].shape == (100, 8)
    assert run.z.dtype == DOUBLE


def test_what_cannot_be_fitted_is_said(pm):
    with pm.Model() as discrete:
        pm.Poisson("n", 3.0)
        pm.Normal("a", 0.0, 1.0)
    with pytest.raises(taut.InputError, match="discrete variables cannot be fitted: n"):
        taut.fit(discrete)
    with pm.Model() as empty:
        pass
    with pytest.raises(taut.InputError, match="no free variables"):
        taut.fit(empty)
    with pm.Model() as model:
        pm.Normal("a", 0.0, 1.0)
    with pytest.raises(taut.InputError, match="has its data already"):
        taut.fit(model, Y)


def test_data_that_are_not_finite_are_told_with_the_options(pm, schools):
    with pytest.raises(taut.InputError) as caught:
        taut.fit(schools, guide="flwo", progress=False)
    assert len(caught.value.problems) == 1
    with pm.Model() as model:
        sigma = pm.Data("sigma", np.where(Y == -1.0, np.inf, SIGMA))
        pm.Normal("y", pm.Normal("a", 0.0, 1.0), sigma, observed=Y)
    with pytest.raises(taut.InputError) as caught:
        taut.fit(model, guide="flwo", progress=False)
    assert caught.value.problems[1].startswith(
        "argument 'sigma' is infinite in 1 of 8 places, at row 4"
    )


def test_without_pymc_nothing_of_it_is_imported():
    code = (
        "import sys, numpyro, numpyro.distributions as d, taut\n"
        "taut.target(lambda: numpyro.sample('a', d.Normal()))\n"
        "assert not any(m.split('.')[0] in ('pymc', 'pytensor') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_data_are_inferred_and_no_observation(pm):
    needs("arviz_base")
    y = np.ma.masked_array([0.5, 0.0, -1.0, 2.0], mask=[False, True, False, False])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyMC says that it imputes
        with pm.Model() as model:
            mu = pm.Normal("mu", 0.0, 1.0)
            pm.Normal("y", mu, 1.0, observed=y)
    fit = taut.fit(model, progress=False)
    assert fit.sites == ("mu", "y_unobserved")
    # A missing value is a draw of its own: it says nothing about mu.
    assert fit.mean("mu") == pytest.approx(1.5 / 4.0, abs=5 * fit.summary()["mu"]["mcse"])
    tree = fit.to_arviz(groups=["posterior", "log_likelihood"])
    away = np.array([0.5, -1.0, 2.0]) - tree["posterior"]["mu"].values[..., None]
    expected = -0.5 * away**2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(tree["log_likelihood"]["y_observed"], expected, rtol=1e-9)
