"""Tracing is not interrupted by the garbage collector, which goes on afterwards."""

import gc

import numpyro
import numpyro.distributions as dist
import pytest

import taut
from taut._core.collector import collector_held
from taut.loop.monitor import Monitor


@pytest.fixture(autouse=True)
def _on():
    gc.enable()
    yield
    gc.enable()


def _fails_without_it():
    assert not gc.isenabled()
    raise ZeroDivisionError


@pytest.mark.parametrize("on", [True, False])
def test_it_is_left_as_it_was(on):
    (gc.enable if on else gc.disable)()
    with pytest.raises(ZeroDivisionError), collector_held():
        _fails_without_it()
    assert gc.isenabled() == on


def test_a_fit_is_traced_without_it_and_runs_with_it(monkeypatch):
    traced, run = [], []

    def model():
        traced.append(gc.isenabled())
        numpyro.sample("x", dist.Normal(0.0, 1.0))

    evaluate = Monitor.begin

    def watched(self, z):
        run.append(gc.isenabled())
        return evaluate(self, z)

    monkeypatch.setattr(Monitor, "begin", watched)
    taut.fit(model, progress=False)
    assert traced
    assert not any(traced)
    assert all(run)
