"""A budget that is spent, Ctrl-C and numerical failure: the best so far comes back and says so."""

import types

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import taut
from taut.fitting.run import CHECKS_STOPPED
from taut.loop import monitor
from taut.loop.monitor import Monitor


def _fit(regression, **options):
    return taut.fit(regression.model, regression.x, y=regression.y, progress=False, **options)


def _check_stopped(fit, reason):
    """What is promised of a stopped fit, whenever it was stopped."""
    assert fit.trust == "not trusted"
    if fit.verdict.converged:
        assert CHECKS_STOPPED in [finding.message for finding in fit.findings]
    else:
        assert fit.verdict.reason == reason
        assert fit.findings[0].level == "bad"
    draws = fit.sample(100)
    assert all(np.isfinite(values).all() for values in draws.values())
    assert "NOT TRUSTED" in str(fit)


@pytest.fixture(scope="module")
def calls(regression):
    """How often a whole fit evaluates the batch."""
    count = []
    call = Monitor.begin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Monitor, "begin", lambda self, z: (count.append(1), call(self, z))[1])
        _fit(regression)
    return len(count)


SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99)


@pytest.mark.parametrize("guide", ["full-rank", "mean-field", "low-rank"])
def test_a_budget_too_small_for_compiling_returns_a_fit(guide):
    def model(y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0).expand([2]))
        numpyro.sample("y", dist.Normal(a.sum(), 1.0), obs=y)

    fit = taut.fit(model, np.ones(3), guide=guide, budget=0.01, progress=False)
    assert fit.verdict.reason == "budget"
    assert fit.verdict.message == "the budget was spent before the optimiser converged"
    _check_stopped(fit, "budget")


@pytest.mark.parametrize("share", SHARES)
def test_a_budget_that_is_spent_somewhere_on_the_way(share, calls, regression, monkeypatch):
    limit, looked = int(share * calls), []

    def perf_counter():
        looked.append(1)
        return 0.0 if len(looked) <= limit else np.inf

    monkeypatch.setattr(monitor, "time", types.SimpleNamespace(perf_counter=perf_counter))
    fit = _fit(regression, budget=1000.0)
    # Once past the deadline it is not asked for the time again.
    assert len(looked) == limit + 1
    _check_stopped(fit, "budget")


@pytest.mark.parametrize("share", SHARES[1:])
def test_ctrl_c_somewhere_on_the_way(share, calls, regression, monkeypatch):
    limit, looked = int(share * calls), []
    call = Monitor.begin

    def interrupted(self, z):
        looked.append(1)
        if len(looked) == limit:
            raise KeyboardInterrupt
        return call(self, z)

    monkeypatch.setattr(Monitor, "begin", interrupted)
    fit = _fit(regression)
    assert len(looked) > limit
    _check_stopped(fit, "interrupted")
    if not fit.verdict.converged:
        assert fit.verdict.message == "interrupted before the optimiser converged"


def test_ctrl_c_before_anything_is_known_is_passed_on(regression, monkeypatch):
    def interrupted(self, z):
        raise KeyboardInterrupt

    monkeypatch.setattr(Monitor, "begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _fit(regression)


def test_what_was_found_by_the_time_of_ctrl_c_is_kept(regression, monkeypatch):
    # One step is exact for a Gaussian posterior, up to rounding in single precision.
    record = Monitor.record

    def interrupted(self, *arguments, **named):
        record(self, *arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(Monitor, "record", interrupted)
    fit = _fit(regression)
    assert fit.verdict.reason == "interrupted"
    np.testing.assert_allclose(fit.guide.mean(), regression.mean, rtol=1e-3)
    assert len(fit.trace) == 1


def test_a_density_that_is_nowhere_finite_on_a_share_of_draws_is_a_verdict():
    def density(x):
        # Finite on a line only, but for the start itself.
        return jnp.where(x[1] == 0.0, -0.5 * x[0] ** 2, -jnp.inf)

    fit = taut.fit(taut.from_log_density(density, np.zeros(2)), progress=False)
    assert fit.verdict.reason == "non-finite"
    assert fit.trust == "not trusted"
    assert any("computed in double precision" in note for note in fit.notes)


def test_checks_can_be_switched_off_at_the_price_of_trust(regression):
    fit = _fit(regression, checks=False)
    assert fit.verdict.converged
    assert fit.trust == "not trusted"
    assert "The trust checks were switched off." in [f.message for f in fit.findings]
    assert np.isfinite(fit.elbo).all()
    with pytest.raises(taut.UntrustedError, match=r"'usable' was required.*switched off"):
        fit.require()
