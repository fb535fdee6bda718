"""Counting, the budget, the best so far, and the trace."""

import time

import numpy as np
import pytest
from batches import gaussian

from taut.guides.mean_field import MeanFieldNormal
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.progress import Progress
from taut.loop.trace import TraceBuilder
from taut.objectives.matched_elbo import evaluate

BATCH = gaussian(np.zeros(2), np.eye(2))


def _evaluation(monitor, scale, draws=4):
    guide = MeanFieldNormal(np.zeros(2), np.full(2, scale))
    return evaluate(monitor, guide, np.random.default_rng(0).standard_normal((draws, 2)))


def test_rows_are_counted_and_values_passed_on():
    monitor = Monitor(BATCH, Progress(False))
    z = np.arange(6.0).reshape(3, 2)
    values, gradients = monitor(z)
    np.testing.assert_array_equal(values, BATCH(z)[0])
    np.testing.assert_array_equal(gradients, BATCH(z)[1])
    monitor(z[:2])
    assert monitor.gradients == 5


def test_past_the_deadline_nothing_is_evaluated():
    calls = []

    def counted(z):
        calls.append(len(z))
        return BATCH(z)

    now = time.perf_counter()
    late = Monitor(counted, Progress(False), now - 1.0)
    with pytest.raises(OutOfTime):
        late(np.zeros((3, 2)))
    assert (calls, late.gradients) == ([], 0)
    Monitor(counted, Progress(False), now + 1000.0)(np.zeros((3, 2)))
    late.deadline = None
    late(np.zeros((3, 2)))
    assert calls == [3, 3]


def test_an_accepted_step_is_the_best_so_far_and_enters_the_trace():
    monitor = Monitor(BATCH, Progress(False))
    first = _evaluation(monitor, 2.0)
    monitor.record(first, "start")
    assert np.isnan(monitor.gap)
    second = _evaluation(monitor, 1.5, draws=8)
    monitor.record(second, "polish", 0.25)
    monitor.record(second, "l-bfgs")
    assert monitor.gap == 0.25  # kept while no newer one is known
    assert monitor.best is second.guide
    trace = monitor.trace.build()
    assert trace.gradients.tolist() == [4, 12, 12]
    assert trace.loss.tolist() == [first.loss, second.loss, second.loss]
    assert trace.stage == ("start", "polish", "l-bfgs")
    assert trace.draws.tolist() == [4, 8, 8]
    np.testing.assert_array_equal(trace.expected_gap, [np.nan, 0.25, np.nan])
    assert len(trace) == 3


def test_an_empty_trace_has_empty_columns():
    trace = TraceBuilder().build()
    assert len(trace) == 0
    assert trace.gradients.dtype == int
    assert trace.loss.dtype == float
    assert trace.stage == ()
