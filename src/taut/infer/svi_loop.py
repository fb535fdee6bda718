"""Steps on the device, decisions on the host.

Between compiled chunks of steps plain Python records losses, redraws the progress line, notices
Ctrl-C and asks whether to stop. How many steps a chunk has depends on how long they take; what they
compute does not depend on how they are cut.
"""

import dataclasses
import time
from typing import Any

import numpy as np

from taut.infer.blame import blame
from taut.infer.iterates import Record
from taut.infer.svi_program import CHUNK, SVIProgram, SVIState
from taut.loop.progress import Progress
from taut.loop.verdict import Verdict

SECONDS = 0.2
"""How long a chunk is meant to take: what Ctrl-C and the progress line have to wait."""

FIRST_CHUNK = 10

_ENDS = {
    "converged": "settled",
    "steps": "not settled",
    "interrupted": "interrupted",
    "non-finite": "not finite",
    "unbounded": "without a bound",
}
CHECK_EVERY = 500

FALL_EVERY, FALLEN, AVERAGED = 250, 100.0, 50
"""A loss without a bound is looked at every 250 steps; one that has fallen by 100 nats, in averages
of 50 steps, goes on falling."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What came out of a run.

    Attributes:
        state: the last finite state.
        losses: of every step made, the one that failed included.
        verdict: why it stopped, and whether it had settled.
    """

    state: SVIState
    losses: np.ndarray
    verdict: Verdict


def run_steps(
    program: SVIProgram,
    leaves: tuple,
    state: SVIState,
    num_steps: int,
    *,
    stable: bool,
    forward: bool,
    halt: bool,
    unbounded: str = "",
    line: Progress,
) -> Run:
    """Make steps until they are done, fail, are interrupted, or have settled.

    Args:
        program: what to step.
        leaves: the data.
        state: where to start.
        num_steps: how many steps at most.
        stable: pass over steps that are not finite, instead of stopping there.
        forward: differentiate forwards.
        halt: stop when loss and parameters have settled.
        unbounded: why the loss has no lower bound, if it has none.
        line: where to show progress.
    """
    record = Record(program.problem.optim.get_params(state.optim_state))
    pace = _Pace()
    verdict = None
    # Of the type it comes back with, or the second chunk would compile anew.
    outside: Any = np.int32(0)
    try:
        while verdict is None:
            left = num_steps - record.steps
            if halt:
                left = min(left, CHECK_EVERY - record.steps % CHECK_EVERY)
            if unbounded:
                left = min(left, FALL_EVERY - record.steps % FALL_EVERY)
            count = min(left, pace.count)
            pace.start()
            made, tried, going, outside, losses, kept = program.steps(
                leaves, state, record.steps, count, outside, stable, forward
            )
            tried, losses = int(tried), np.asarray(losses)
            state = made
            record.extend(losses[:tried], np.asarray(kept))
            pace.stop(tried)
            line.update(f"step {record.steps:,} of {num_steps:,}", loss=_mean(losses[:tried]))
            if not going:
                verdict = _failed(program, leaves, state, record)
            elif unbounded and record.steps % FALL_EVERY == 0 and _fell(record.losses):
                why = f"stopped after {record.steps:,} steps, as the loss falls without bound"
                verdict = Verdict(False, "unbounded", f"{why}: {unbounded}")
            elif record.steps >= num_steps:
                verdict = _ended(record)
            elif halt and record.steps % CHECK_EVERY == 0:
                judged = record.settled()
                if judged.converged:
                    verdict = Verdict(True, "converged", judged.message)
    except KeyboardInterrupt:
        line.interrupt()
        verdict = Verdict(
            False, "interrupted", f"interrupted after {record.steps:,} of {num_steps:,} steps"
        )
    losses = record.losses
    if len(losses):
        line.finish(f"{len(losses):,} steps, {_ENDS[verdict.reason]}", loss=_mean(losses[-CHUNK:]))
    return Run(state, losses, verdict)


class _Pace:
    """How many steps to make at a time."""

    def __init__(self):
        self.count = FIRST_CHUNK
        self._warm = False
        self._began = 0.0

    def start(self) -> None:
        """Note when a chunk began."""
        self._began = time.perf_counter()

    def stop(self, steps: int) -> None:
        """Choose the next count by how long a chunk took; the first one compiles."""
        seconds = (time.perf_counter() - self._began) / max(steps, 1)
        if self._warm:
            self.count = int(np.clip(SECONDS / seconds, 1, CHUNK))
        self._warm = True


def _fell(losses: np.ndarray) -> bool:
    return bool(losses[:AVERAGED].mean() - losses[-AVERAGED:].mean() > FALLEN)


def _ended(record: Record) -> Verdict:
    judged = record.settled()
    message = judged.message
    skipped = int(np.isnan(record.losses).sum())
    if skipped:
        message = f"{message}; {_steps(skipped)} passed over because not finite"
    outside = int(np.isposinf(record.losses).sum())
    if outside:
        message = (
            f"{message}; {_steps(outside)} passed over because the guide drew values outside the "
            "model's support, where the bound is minus infinity"
        )
    reason = "converged" if judged.converged else "steps"
    return Verdict(judged.converged, reason, message)


def _failed(program: SVIProgram, leaves: Any, state: SVIState, record: Record) -> Verdict:
    args, kwargs = program.rebuild(leaves)
    why = blame(program.problem, program.sites, state, args, kwargs)
    return Verdict(
        False,
        "non-finite",
        f"step {record.steps:,} was not finite: {why}. What came before it is returned",
    )


def _steps(count: int) -> str:
    return "1 step was" if count == 1 else f"{count:,} steps were"


def _mean(losses: np.ndarray) -> float:
    finite = losses[np.isfinite(losses)]
    return float(finite.mean()) if len(finite) else float("nan")
