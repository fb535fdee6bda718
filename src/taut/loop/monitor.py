"""What watches a running fit: the trace, the best guide so far, the clock and the progress line."""

import time
from typing import Any

from taut.loop.progress import Progress
from taut.loop.trace import TraceBuilder
from taut.objectives.matched_elbo import Batch, Evaluation, begin, rows_of


class OutOfTime(Exception):
    """The budget is spent; the monitor holds the best guide so far."""


class Monitor:
    """Counts gradients, keeps the best so far and stops the fit when the budget is spent.

    Args:
        batch: batched log density and gradient.
        progress: the progress line.
        deadline: `time.perf_counter()` value after which to stop, or None.
    """

    def __init__(self, batch: Batch, progress: Progress, deadline: float | None = None):
        self._batch = batch
        self.progress = progress
        self.deadline = deadline
        self.gradients = 0
        self.best: Any = None
        self.gap = float("nan")
        self.trace = TraceBuilder()

    @property
    def rows(self) -> int:
        """How many rows are evaluated at once."""
        return rows_of(self._batch)

    def __call__(self, z: Any) -> Any:
        """Evaluate log densities and gradients, unless the time is over."""
        return self.begin(z)()

    def begin(self, z: Any) -> Any:
        """Begin to evaluate, likewise; call what is returned for the result."""
        if self.deadline is not None and time.perf_counter() > self.deadline:
            raise OutOfTime
        self.gradients += len(z)
        return begin(self._batch, z)

    def record(self, evaluation: Evaluation, stage: str, gap: float = float("nan")) -> None:
        """Note an accepted step."""
        self.best = evaluation.guide
        if gap == gap:
            self.gap = gap
        self.trace.add(self.gradients, evaluation.loss, stage, evaluation.draws, gap)
        self.progress.update(
            stage, elbo=-evaluation.loss, expected_gap=self.gap, gradients=self.gradients
        )

    def note(self, gradients: int, loss: float, stage: str, draws: int) -> None:
        """Note steps whose gradients were not taken by way of the monitor, if there is time."""
        if self.deadline is not None and time.perf_counter() > self.deadline:
            raise OutOfTime
        self.gradients += gradients
        self.trace.add(self.gradients, loss, stage, draws, float("nan"))
        self.progress.update(stage, elbo=-loss, gradients=self.gradients)
