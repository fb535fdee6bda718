"""One fit: the optimisation in some precision, then the checks."""

import math
import time
from typing import Any

import numpy as np

from taut._core.collector import collector_held
from taut._core.errors import InputError
from taut._core.threads import single_blas_thread
from taut._core.versions import versions_of
from taut.diagnostics.checks import draw_to_weigh, misfits, run_checks
from taut.diagnostics.more_draws import gradients_for, more_draws
from taut.diagnostics.tails import LONG_LOOK, LONG_LOOK_WORTH
from taut.guides.full_rank import FullRankNormal
from taut.guides.mixture_normal import MixtureNormal
from taut.loop.allowance import ALLOWED_WORK
from taut.loop.flow import climb
from taut.loop.gaussian import GaussianSearch
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.progress import Progress
from taut.loop.stages import Outcome
from taut.loop.starts import NoFiniteStart
from taut.loop.verdict import Verdict
from taut.posterior.draws import Draws
from taut.posterior.pool import Pool
from taut.targets.constrainer import Constrainer
from taut.targets.no_start import no_start
from taut.targets.oracle import Oracle
from taut.targets.target import Target

CHECKS_STOPPED = "The trust checks were stopped before they ended."

_BUDGET_SPENT = Verdict(False, "budget", "the budget was spent before the optimiser converged")
_INTERRUPTED = Verdict(False, "interrupted", "interrupted before the optimiser converged")


class Clock:
    """Wall time by phase."""

    def __init__(self):
        self.start = self._last = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Count the time since the last lap to a phase."""
        now = time.perf_counter()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def finish(self) -> dict[str, float]:
        """Return the seconds of each phase, and of all."""
        return {**self._seconds, "total": time.perf_counter() - self.start}


class Run:
    """One fit: the optimisation in some precision, then the checks.

    Attributes:
        versions: of the libraries in use.
    """

    def __init__(
        self,
        bound: Target,
        guide: Any,
        modes: bool,
        seed: int,
        budget: float | None,
        line: Progress,
        clock: Clock,
    ):
        self._bound = bound
        self._guide = guide
        self._modes = modes
        self._seed = seed
        self._line = line
        self._clock = clock
        self._deadline = None if budget is None else clock.start + budget
        self._spent = 0

    @property
    def gradients(self) -> int:
        """Gradient evaluations so far, in all precisions."""
        return self._spent + self.monitor.gradients

    @property
    def unread(self) -> tuple[str, ...]:
        """Names of the arguments that do not enter the log density."""
        return tuple(self._bound.data_names[i] for i in self._oracle.executable.unread)

    def optimise(self, dtype: np.dtype) -> None:
        """Fit the guide with the model computed in `dtype`."""
        self._line.update("compiling")
        self.dtype = dtype
        with collector_held():
            self._oracle = Oracle(self._bound, dtype)
            # Traced while the oracle compiles, and compiled while the guide is fitted.
            self._constrainer = Constrainer(self._bound, dtype)
        self._clock.lap("trace")
        # Finding BLAS libraries and versions takes milliseconds, in which the oracle compiles on.
        self.versions = versions_of(("taut", "jax", "numpyro", *self._bound.program.libraries))
        with single_blas_thread():
            self._oracle.executable.wait()
            self._clock.lap("compile")
            if hasattr(self, "monitor"):
                self._spent = self.monitor.gradients
            self.monitor = Monitor(self._oracle, self._line, self._deadline)
            self.search = self._new_search()
            self._weighed: tuple[Any, Draws] | None = None
            self._checking = self._random(2)
            self.outcome = self._search()
        self._fitted_with = self.monitor.gradients
        self._clock.lap("fit")

    def _new_search(self) -> Any:
        if not isinstance(self._guide, str):
            return self._guide.search(self.monitor, self._seed, self.dtype)
        return GaussianSearch(
            self._guide,
            self._modes,
            self._bound.dim,
            self.monitor,
            self._oracle.resolution,
            self._random(0),
            self._random(1),
            self._oracle.executable.work,
        )

    def check(self, wanted: bool) -> None:
        """Run the trust checks on the fitted guide and choose the draws."""
        monitor, work = self.monitor, self._oracle.executable.work
        self._line.update("checking", gradients=monitor.gradients)
        # A fit that was stopped is not trusted whatever the chains say, and the time is up.
        stopped = self.outcome.verdict in (_BUDGET_SPENT, _INTERRUPTED)
        options: dict[str, Any] = {"resolution": self._oracle.resolution}
        if wanted and stopped:
            options["reason"] = CHECKS_STOPPED
        drawn = None
        if self._weighed is not None and self._weighed[0] is self.outcome.guide:
            drawn = self._weighed[1]
        with single_blas_thread():
            try:
                self.checked = run_checks(
                    self.outcome,
                    wanted and not stopped,
                    monitor,
                    work,
                    self._checking,
                    drawn=drawn,
                    **options,
                )
            except (OutOfTime, KeyboardInterrupt) as stop:
                if isinstance(stop, KeyboardInterrupt):
                    monitor.progress.interrupt()
                monitor.deadline = None
                self.checked = run_checks(
                    self.outcome, False, monitor, work, self._random(2), CHECKS_STOPPED
                )
        self._clock.lap("checks")

    def pool(self) -> Pool:
        """Return the chosen draws in the model's own coordinates."""
        checked = self.checked
        values = self._constrainer(checked.z)
        return Pool(values, checked.z, checked.log_p, checked.source, checked.independent)

    def look_longer(self, pool: Pool) -> Pool | None:
        """Return a pool with as many draws as a longer look needs.

        None if there cannot be so many: with them the checks must not take more gradients than the
        fit, but for some cheap ones, and not have been stopped before or now.
        """
        chains = self.checked.chains if pool.source == "chains" else None
        worth = pool.chains if chains is None else chains.effective
        wanted = max(LONG_LOOK, math.ceil(LONG_LOOK_WORTH / worth * len(pool))) - len(pool)
        if wanted <= 0:
            return pool
        needed = self.monitor.gradients - self._fitted_with + gradients_for(pool, wanted)
        allowed = self._fitted_with + ALLOWED_WORK / self._oracle.executable.work
        if not self.checked.complete or needed > allowed:
            return None
        self._line.update("a longer look at a tail", gradients=self.monitor.gradients)
        try:
            more, log_p = more_draws(
                pool, self.outcome.guide, self.monitor, wanted, self._random(4)
            )
        except OutOfTime:
            return None
        except KeyboardInterrupt:
            self.monitor.progress.interrupt()
            return None
        values = self._constrainer(more)
        joined = {name: np.concatenate([pool.values[name], values[name]]) for name in values}
        independent = pool.chains
        if pool.source != "chains":
            independent = round(independent * (1.0 + len(more) / len(pool)))
        return Pool(
            joined,
            np.concatenate([pool.z, more]),
            np.concatenate([pool.log_p, log_p]),
            pool.source,
            independent,
        )

    def _search(self) -> Outcome:
        monitor = self.monitor
        try:
            return self._climb(self.search.run())
        except NoFiniteStart:
            raise InputError(no_start(self._bound)) from None
        except OutOfTime:
            verdict = _BUDGET_SPENT
        except KeyboardInterrupt:
            monitor.progress.interrupt()
            if monitor.best is None:
                raise
            verdict = _INTERRUPTED
        monitor.deadline = None
        guide = monitor.best if monitor.best is not None else self.search.fallback()
        return Outcome(guide, verdict)

    def _climb(self, outcome: Outcome) -> Outcome:
        # What is going to be fitted again in double precision is not bent first.
        if not isinstance(self._guide, str) or self.search.needs_double(outcome):
            return outcome
        monitor, rng = self.monitor, self._random(3)
        work, resolution = self._oracle.executable.work, self._oracle.resolution
        spent = monitor.gradients
        climbed = climb(self._guide, outcome, monitor, rng, resolution, work)
        if self._guide != "auto" or not isinstance(climbed.guide, FullRankNormal | MixtureNormal):
            return climbed
        # The many draws of the checks may show what the few of the fit did not.
        drawn = draw_to_weigh(climbed.guide, monitor, self._checking)
        self._weighed = climbed.guide, drawn
        if not misfits(drawn, climbed.guide):
            return climbed
        return climb(self._guide, climbed, monitor, rng, resolution, work, drawn, spent)

    def _random(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, stream])
