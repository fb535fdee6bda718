"""NUTS on a target, from scratch and from a fit, and how a fit is held against it."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import taut

Y = np.array([0.3, -0.2, 1.4, 0.9])


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0))
    numpyro.deterministic("twice", 2.0 * mu)
    numpyro.deterministic("one", 1.0)
    numpyro.sample("y", dist.Normal(mu, sd), obs=y)


@pytest.fixture(scope="module")
def fit():
    return taut.fit(model, Y, progress=False)


@pytest.fixture(scope="module")
def run():
    return taut.nuts(model, Y, draws=600, warmup=300, progress=False)


def _moments_by_quadrature():
    mu, log_sd = np.meshgrid(np.linspace(-8, 8, 801), np.linspace(-5, 3, 801), indexing="ij")
    sd = np.exp(log_sd)
    log_p = -(mu**2) / 8.0 - sd**2 / 2.0 + log_sd - len(Y) * log_sd
    log_p -= ((Y[:, None, None] - mu) ** 2).sum(axis=0) / (2.0 * sd**2)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    return {"mu": (p * mu).sum(), "sd": (p * sd).sum()}


@pytest.fixture(scope="module")
def from_fit(fit):
    return fit.compare_nuts(draws=300, progress=False)


def test_the_draws_are_the_posterior_s(run, within_error):
    assert run.z.shape == (4, 600, 2)
    assert run.values["mu"].shape == (2400,)
    table = run.summary()
    for name, mean in _moments_by_quadrature().items():
        within_error(table[name]["mean"], mean, table[name]["mcse"])
    np.testing.assert_array_equal(run.values["twice"], 2.0 * run.values["mu"])
    assert table["one"]["sd"] == 0.0


def test_it_says_whether_the_chains_agree(run):
    assert set(run.r_hat) == set(run.ess) == {"mu", "sd", "twice", "one"}
    assert all(0 < size <= 2400 for size in run.ess.values())
    worst = max(value for value in run.r_hat.values() if np.isfinite(value))
    assert run.converged == (worst <= 1.01 and run.divergences == 0)
    assert f"{worst:.3f}" in str(run)
    assert run.gradients >= 2400


def test_log_densities_belong_to_the_draws(run):
    bound = taut.target(model, Y)
    for chain, draw in ((0, 0), (3, 599)):
        expected = float(bound.log_density(run.z[chain, draw].astype(np.float32)))
        assert run.log_p[chain, draw] == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_a_fit_hands_over_its_draws_and_covariance(from_fit, within_error):
    run = from_fit.entries["nuts"]
    assert run.warmup == 150
    table = run.summary()
    for name, mean in _moments_by_quadrature().items():
        within_error(table[name]["mean"], mean, table[name]["mcse"])


def test_a_fit_is_held_against_nuts(from_fit, fit):
    assert from_fit.reference == "nuts"
    difference, ratio = from_fit.worst("fit")
    # Monte Carlo errors of both, about 0.04 sd, and what "trusted" or "usable" allows.
    assert difference < 0.15 + 5 * np.nanmax(from_fit.error)
    assert 0.75 < ratio < 1.35
    text = str(from_fit)
    assert "trust: " + fit.trust in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_budget_stops_it_with_the_draws_so_far():
    run = taut.nuts(model, Y, draws=5000, warmup=50, chains=1, budget=0.01, progress=False)
    assert run.z.shape == (1, 50, 2)
    assert run.warmup == 0


def test_bad_numbers_are_refused_together(fit):
    with pytest.raises(taut.InputError) as caught:
        taut.nuts(model, Y, draws=0, chains=1.5, budget=-1)
    assert len(caught.value.problems) == 3
    with pytest.raises(taut.InputError, match="a fit with 2 latent values; the model has 1"):
        taut.nuts(lambda: numpyro.sample("a", dist.Normal()), start=fit)


def test_a_notebook_gets_the_table_of_a_run(run):
    page = run._repr_html_()
    assert page.count("<tr>") == 1 + len(run.summary())
    assert "largest R-hat" in page
