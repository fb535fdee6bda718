"""Steps on the device, decisions on the host.

Between compiled chunks of steps plain Python records losses, redraws the progress line, notices
Ctrl-C and asks whether to stop. How many steps a chunk has depends on how long they take; what they
compute does not depend on how they are cut.
"""

import collections
import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from taut.infer.blame import blame
from taut.infer.iterates import Record
from taut.infer.shorter import can_shorten
from taut.infer.svi_problem import SVIState
from taut.infer.svi_program import SVIProgram
from taut.infer.svi_steps import CHUNK
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

SHOWN = 1000
"""Last steps whose mean loss ends the progress line."""

FALL_EVERY, FALLEN, AVERAGED = 250, 100.0, 50
"""A loss without a bound is looked at every 250 steps; one that has fallen by 100 nats, in averages
of 50 steps, goes on falling."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What came out of a run.

    Attributes:
        state: the last state, or the last one with a finite loss where the run failed.
        losses: of every step made, the one that failed included; a retry takes the place of what it
            repeats.
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

    Where a step is not finite because the one before led too far, the run goes back before that one
    and on with steps a tenth as long, once.

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
    pace, recent = _Pace(), _Recent(program, leaves, stable, forward)
    verdict, retry, told = None, "", ""
    outside = 0
    try:
        while verdict is None:
            left = num_steps - record.steps
            if halt:
                left = min(left, CHECK_EVERY - record.steps % CHECK_EVERY)
            if unbounded:
                left = min(left, FALL_EVERY - record.steps % FALL_EVERY)
            count = min(left, pace.count)
            recent.note(record.steps, state, outside)
            pace.start()
            steps = program.steps(
                leaves, state, record.steps, count, outside, stable, forward, bool(retry)
            )
            state, outside = steps.state, steps.outside
            record.extend(steps.losses, steps.kept)
            pace.stop(len(steps.losses))
            line.update(f"step {record.steps:,} of {num_steps:,}", loss=_mean(steps.losses))
            if not steps.going:
                failed, why = record.steps, _why(program, leaves, state)
                good = recent.last_good(record.losses)
                if good is None:
                    verdict = _failed(failed, why, retry)
                elif retry or not _can_help(program, leaves, state):
                    verdict = _failed(failed, why, retry)
                    if not np.isfinite(record.losses[-1]):
                        state = recent.before(good, short=bool(retry))[0]
                else:
                    state, outside = recent.before(good, record)
                    retry = f"from step {good:,} on the steps were a tenth as long"
                    told = f"Step {failed:,} was not finite: {why}. So {retry}"
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
    if told and verdict.reason != "non-finite":
        verdict = dataclasses.replace(verdict, message=f"{verdict.message}. {told}")
    losses = record.losses
    if len(losses):
        line.finish(f"{len(losses):,} steps, {_ENDS[verdict.reason]}", loss=_mean(losses[-SHOWN:]))
    return Run(state, losses, verdict)


class _Recent:
    """Where the last two chunks began, which is enough to go back to any step of the last one."""

    def __init__(self, program: SVIProgram, leaves: tuple, stable: bool, forward: bool):
        self._program, self._leaves, self._options = program, leaves, (stable, forward)
        self._begun: collections.deque = collections.deque(maxlen=2)

    def note(self, steps: int, state: SVIState, outside: int) -> None:
        """Note that a chunk begins here."""
        self._begun.append((steps, state, outside))

    def last_good(self, losses: np.ndarray) -> int | None:
        """Return the last step before the failed one whose loss was finite, if it can be repeated.

        There is none where the guide draws outside the support, which no smaller step mends.
        """
        good = np.flatnonzero(np.isfinite(losses[:-1])) + 1
        if np.isposinf(losses[-1]) or len(good) == 0 or good[-1] <= self._begun[0][0]:
            return None
        return int(good[-1])

    def before(
        self, step: int, record: Record | None = None, short: bool = False
    ) -> tuple[SVIState, int]:
        """Repeat a chunk up to a step, bit by bit; return the state and count of draws outside."""
        begin, state, outside = [b for b in self._begun if b[0] < step][-1]
        if record is not None:
            record.rewind(begin)
            self._begun.clear()
        if begin + 1 < step:
            count = step - 1 - begin
            steps = self._program.steps(
                self._leaves, state, begin, count, outside, *self._options, short
            )
            state, outside = steps.state, steps.outside
            if record is not None:
                record.extend(steps.losses, steps.kept)
        return state, outside


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


def _why(program: SVIProgram, leaves: tuple, state: SVIState) -> str:
    args, kwargs = program.rebuild(leaves)
    return blame(program.problem, program.sites, state, args, kwargs)


def _can_help(program: SVIProgram, leaves: tuple, state: SVIState) -> bool:
    """Whether smaller steps can be made, and the data are not what is not finite."""
    numbers = [d for d in jax.tree.leaves(leaves) if jnp.issubdtype(d.dtype, np.inexact)]
    finite = all(np.isfinite(d).all() for d in numbers)
    return finite and can_shorten(program.problem.optim, state.optim_state)


def _failed(step: int, why: str, retry: str) -> Verdict:
    message = f"step {step:,} was not finite: {why}. What came before it is returned"
    if retry:
        message = f"{message}. A retry did not help: {retry}"
    return Verdict(False, "non-finite", message)


def _steps(count: int) -> str:
    return "1 step was" if count == 1 else f"{count:,} steps were"


def _mean(losses: np.ndarray) -> float:
    finite = losses[np.isfinite(losses)]
    return float(finite.mean()) if len(finite) else float("nan")
