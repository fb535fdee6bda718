"""What single precision cannot hold is fitted in double; byte orders do not matter."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import taut
from taut.targets.representable import ROUNDED, lost_in_single

ORIGIN = 2_459_000.0


def _line(t, y):
    a = numpyro.sample("a", dist.Normal(0.0, 10.0))
    b = numpyro.sample("b", dist.Normal(0.0, 10.0))
    numpyro.sample("y", dist.Normal(a + b * (t - ORIGIN), 0.1), obs=y)


def _julian_dates():
    rng = np.random.default_rng(0)
    days = rng.uniform(0.0, 1.0, 80)
    return ORIGIN + days, 1.0 + 3.0 * days + 0.1 * rng.standard_normal(80)


def test_julian_dates_are_not_rounded(within_error):
    t, y = _julian_dates()
    fit = taut.fit(_line, t, y, progress=False)
    (note,) = fit.notes
    assert "double precision" in note
    assert "argument 't' is rounded" in note
    # The posterior in closed form: a linear model with known noise and a wide normal prior.
    design = np.column_stack([np.ones(80), t - ORIGIN])
    cov = np.linalg.inv(design.T @ design / 0.1**2 + np.eye(2) / 10.0**2)
    mean = cov @ design.T @ y / 0.1**2
    sds = np.sqrt(np.diag(cov))
    within_error([fit.mean("a"), fit.mean("b")], mean, sds / np.sqrt(1500.0))
    assert fit.trust == "trusted"


@pytest.mark.parametrize(
    ("name", "values", "lost"),
    [
        ("counts", np.array([1, 2**31]), "integers beyond its range"),
        ("counts", np.array([1, 2**31 - 1]), ""),
        ("flags", np.array([0, 2**32], np.uint64), "integers beyond its range"),
        ("flux", np.array([1.0, 1e39]), "values beyond its range"),
        ("flux", np.array([1.0, 3e38, np.nan, np.inf]), ""),
        ("t", ORIGIN + np.linspace(0.0, 0.9, 10), "rounded by up to"),
        ("t", 2000.0 + np.linspace(0.0, 0.9, 10), ""),
        ("t", (ORIGIN + np.linspace(0.0, 0.9, 10)).astype(np.float32), ""),
        ("constant", np.full(5, np.pi), ""),
        # NumPy's sd of these is not zero but 3e-17; and sums of the same numbers in other orders.
        ("constant", np.full(15, 0.2), ""),
        ("constant", np.array([0.3, 0.1 + 0.2, 0.3]), ""),
        ("nothing", np.zeros(0), ""),
        ("unknown", np.full(3, np.nan), ""),
    ],
)
def test_what_single_precision_cannot_hold_is_named(name, values, lost):
    found = lost_in_single(["x", name], [np.zeros(3), values])
    assert (lost in found) if lost else (found == "")
    assert not lost or f"argument {name!r}" in found


@pytest.mark.parametrize(("share", "told"), [(0.5, False), (2.0, True)])
def test_the_limit_is_a_share_of_the_spread(share, told):
    # In [2^20, 2^21) single precision steps by 1/8, so these are rounded by 1/16 exactly.
    distance = np.round(8.0 / 16.0 / (share * ROUNDED)) / 8.0
    values = 1.5 * 2.0**20 + 1.0 / 16.0 + np.array([-distance, distance])
    assert bool(lost_in_single(["t"], [values])) == told


def test_large_integers_do_not_wrap(within_error):
    def model(y):
        log_rate = numpyro.sample("log_rate", dist.Normal(20.0, 10.0))
        numpyro.sample("y", dist.Normal(np.e**log_rate, 1e9), obs=y)

    rng = np.random.default_rng(0)
    y = (np.exp(26.8) + 1e9 * rng.standard_normal(20)).astype(np.int64)
    fit = taut.fit(model, y, progress=False)
    # The prior is as good as flat on the scale of the likelihood.
    within_error(fit.mean("log_rate"), np.log(y.mean()), 1e9 / y.mean() / np.sqrt(20.0))
    assert "argument 'y' holds integers" in fit.notes[0]


def test_the_byte_order_of_a_table_does_not_matter():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 1.0, 30)
    y = 1.0 + 3.0 * x + 0.1 * rng.standard_normal(30)

    def model(x, y):
        a = numpyro.sample("a", dist.Normal(0.0, 10.0))
        b = numpyro.sample("b", dist.Normal(0.0, 10.0))
        numpyro.sample("y", dist.Normal(a + b * x, 0.1), obs=y)

    fits = [taut.fit(model, x.astype(k), y.astype(k), progress=False) for k in ("<f8", ">f8")]
    np.testing.assert_array_equal(fits[0].pool["b"], fits[1].pool["b"])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_latent_that_nothing_informs_is_not_trusted():
    def model(y):
        a = numpyro.sample("a", dist.ImproperUniform(constraints.real, (), ()))
        numpyro.sample("b", dist.ImproperUniform(constraints.real, (), ()))
        numpyro.sample("y", dist.Normal(a, 60.0), obs=y)

    y = np.random.default_rng(0).normal(5.0, 60.0, 20)
    assert taut.fit(model, y, progress=False).trust == "not trusted"


def test_nuts_is_run_in_the_same_precision(within_error):
    t, y = _julian_dates()
    assert taut.target(_line, t, y).dtype == np.float64
    run = taut.nuts(_line, t, y, draws=500, warmup=300, chains=2, progress=False)
    design = np.column_stack([np.ones(80), t - ORIGIN])
    cov = np.linalg.inv(design.T @ design / 0.1**2 + np.eye(2) / 10.0**2)
    slope, sd = (cov @ design.T @ y / 0.1**2)[1], np.sqrt(cov[1, 1])
    within_error(run.values["b"].mean(), slope, sd / np.sqrt(run.ess["b"]))


def test_prior_draws_are_made_of_the_dates_as_they_are():
    def model(t):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.deterministic("days", a + (t - ORIGIN))

    t, _ = _julian_dates()
    drawn = taut.prior(model, t, draws=3)
    expected = np.asarray(drawn["a"])[:, None] + (t - ORIGIN)
    np.testing.assert_allclose(drawn["days"], expected, atol=1e-8)
