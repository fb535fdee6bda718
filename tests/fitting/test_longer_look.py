"""A tail that looks heavy by a narrow margin is looked at again in more draws."""

import math

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from seeds import SEEDS

import taut
from taut.diagnostics import checks
from taut.diagnostics.short_hmc import Chains
from taut.diagnostics.tails import LONG_LOOK, LONG_LOOK_WORTH, OF_MANY
from taut.diagnostics.walk import FULL
from taut.fitting import calls, run
from taut.loop.monitor import OutOfTime

DRAWS = 4096


def exponential():
    numpyro.sample("x", dist.Exponential(1.0))


def two_modes():
    mixing = dist.Categorical(np.array([0.4, 0.6]))
    numpyro.sample("x", dist.MixtureSameFamily(mixing, dist.Normal(np.array([-8.0, 8.0]), 1.0)))


@pytest.fixture
def narrow(monkeypatch):
    """Every tail looks heavy by a narrow margin; notes the limits of the looks."""
    limits = []
    heavy_tails = calls.heavy_tails

    def look(names, values, limit):
        limits.append((len(values), limit))
        return heavy_tails(names, values, limit)

    monkeypatch.setattr(calls, "close", lambda tails: True)
    monkeypatch.setattr(calls, "heavy_tails", look)
    return limits


@pytest.mark.parametrize("model", [exponential, two_modes])
@pytest.mark.parametrize("seed", SEEDS[:3])
def test_the_draws_of_the_longer_look_are_kept(model, seed, narrow):
    fit = taut.fit(model, seed=seed, progress=False)
    assert narrow[1] == (LONG_LOOK, OF_MANY)
    pool = fit._record.pool
    assert len(pool) == LONG_LOOK
    old, new = pool.values["x"][:DRAWS], pool.values["x"][DRAWS:]
    # Both are the posterior's: shares of the draws below the median, as many as are independent.
    middle = np.median(old)
    worth = min(float(pool.effective("x")), DRAWS)
    assert abs((new < middle).mean() - 0.5) < 5 * np.sqrt(0.5 / worth)
    values, _ = fit._oracle("a test")(pool.z)
    np.testing.assert_allclose(values, pool.log_p, rtol=1e-5, atol=1e-5)
    assert fit.sample(LONG_LOOK)["x"].shape == (LONG_LOOK,)


@pytest.mark.parametrize("worth", [4000.0, LONG_LOOK_WORTH / LONG_LOOK * DRAWS, 1000.0])
def test_states_of_chains_that_are_worth_less_need_more(worth, monkeypatch, narrow):
    monkeypatch.setattr(checks, "draws_from", lambda weights, chains: "chains")
    monkeypatch.setattr(Chains, "effective", worth)
    taut.fit(exponential, progress=False)
    first, then = (count for count, _ in narrow)
    # In whole iterations of 256 chains.
    assert then == max(LONG_LOOK, 256 * math.ceil(LONG_LOOK_WORTH / worth * first / 256))


def test_draws_that_are_enough_are_looked_at_as_they_are(monkeypatch, narrow):
    # Chains go on as long as they may.
    monkeypatch.setattr(checks, "ENOUGH_EFFECTIVE", np.inf)
    monkeypatch.setattr(checks, "weights_worth", lambda weights: 0.0)
    monkeypatch.setattr(checks, "draws_from", lambda weights, chains: "chains")
    taut.fit(exponential, progress=False)
    states = FULL.rounds * FULL.kept * FULL.chains
    assert states > LONG_LOOK
    assert [count for count, _ in narrow] == [states, states]


def test_no_longer_look_where_it_would_take_too_many_gradients(monkeypatch, narrow):
    monkeypatch.setattr(run, "gradients_for", lambda pool, wanted: 1e18)
    fit = taut.fit(exponential, progress=False)
    assert len(narrow) == 1
    assert len(fit._record.pool) == DRAWS


@pytest.mark.parametrize("stop", [OutOfTime, KeyboardInterrupt])
def test_a_longer_look_that_is_stopped_leaves_the_fit_as_it_was(stop, monkeypatch, narrow):
    def stopped(*arguments):
        raise stop

    monkeypatch.setattr(run, "more_draws", stopped)
    fit = taut.fit(exponential, progress=False)
    assert len(narrow) == 1
    assert len(fit._record.pool) == DRAWS
    assert fit.trust == taut.fit(exponential, progress=False).trust


def test_no_longer_look_without_checks(narrow):
    fit = taut.fit(exponential, checks=False, progress=False)
    assert len(narrow) == 1
    assert len(fit._record.pool) == DRAWS
