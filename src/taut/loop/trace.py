"""The record of a fit, step by step."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class Trace:
    """One entry per accepted step.

    Attributes:
        gradients: gradient evaluations spent so far.
        loss: minus the ELBO on the step's own draws; steps on different draws differ by noise.
        stage: "start", "natural gradient", "l-bfgs" or "polish".
        draws: how many draws the step used.
        expected_gap: expected loss from that many draws, in nats; NaN where not known.
    """

    gradients: Int[np.ndarray, " steps"]
    loss: Float[np.ndarray, " steps"]
    stage: tuple[str, ...]
    draws: Int[np.ndarray, " steps"]
    expected_gap: Float[np.ndarray, " steps"]

    def __len__(self) -> int:
        return len(self.loss)


class TraceBuilder:
    """Collects a trace while a fit runs."""

    def __init__(self):
        self._rows: list[tuple[int, float, str, int, float]] = []

    def add(self, gradients: int, loss: float, stage: str, draws: int, gap: float) -> None:
        """Append one step."""
        self._rows.append((gradients, loss, stage, draws, gap))

    def build(self) -> Trace:
        """Return what was collected."""
        columns = list(zip(*self._rows, strict=True)) if self._rows else [[], [], [], [], []]
        gradients, loss, stage, draws, gap = columns
        return Trace(
            np.asarray(gradients, int),
            np.asarray(loss, float),
            tuple(stage),
            np.asarray(draws, int),
            np.asarray(gap, float),
        )
