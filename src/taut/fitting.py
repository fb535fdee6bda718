"""Fitting, from a model to a result: the stages put together."""

import importlib.metadata
import inspect
import sys
import time
from collections.abc import Callable, Collection, Sequence
from os import PathLike
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from taut._core.errors import InputError, did_you_mean
from taut._core.threads import single_blas_thread
from taut.diagnostics.checks import run_checks
from taut.diagnostics.tails import Tail, heavy_tails
from taut.diagnostics.trust import Solutions, judge
from taut.guides.mixture_normal import MixtureNormal
from taut.loop.flow import climb
from taut.loop.gaussian import GUIDE_NAMES, GaussianSearch
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.progress import Progress
from taut.loop.stages import Outcome
from taut.loop.starts import LARGEST_FULL_RANK, NoFiniteStart
from taut.loop.verdict import Verdict
from taut.posterior.pool import Pool
from taut.predictive.calls import model_of
from taut.report.names import scalar_names
from taut.results.archive import read
from taut.results.fit_result import Fit
from taut.results.record import Record
from taut.targets.constrainer import Constrainer
from taut.targets.oracle import Oracle
from taut.targets.target import Target, target

CHECKS_STOPPED = "The trust checks were stopped before they ended."

_BUDGET_SPENT = Verdict(False, "budget", "the budget was spent before the optimiser converged")
_INTERRUPTED = Verdict(False, "interrupted", "interrupted before the optimiser converged")

ENGINE_OPTIONS = ("guide", "prior_ok", "seed", "budget", "modes", "progress", "checks")


def fit(
    model_or_target: Any,
    /,
    *args: Any,
    guide: str | Callable = "auto",
    prior_ok: Collection[str] = (),
    seed: int = 0,
    budget: float | None = None,
    modes: bool = False,
    progress: bool = True,
    checks: bool = True,
    **kwargs: Any,
) -> Fit:
    """Fit a posterior and say whether to believe it.

    Args:
        model_or_target: a NumPyro model, a PyMC model (`pm.Model`), or a target made by
            `taut.target` or `taut.from_log_density`.
        *args: the model's positional arguments.
        guide: "auto", "full-rank", "mean-field", "low-rank", "mixture" or "flow". "auto" is full
            rank, bent into a flow where that is not good enough; a mixture where several separate
            solutions are found, up to 256 latent values; and low rank above 2,048, or where
            gradients are dear. Or a guide of your own:
            a NumPyro program with parameters, called with the model's arguments, which `taut.check`
            reads first.
        prior_ok: latent sites that a guide of your own may leave out; they keep their priors.
        seed: decides every random number of the fit.
        budget: seconds after which to stop and return the best so far; None for no limit.
        modes: True searches for separate solutions from eight times as many starts.
        progress: show a progress line on standard error.
        checks: False skips the trust checks; the fit is then "not trusted", whatever it is.
        **kwargs: the model's keyword arguments, observed data included.

    Returns:
        The fit. Ctrl-C, a spent budget and numerical failure are not errors: the best so far comes
        back, with a verdict that says so.

    Raises:
        InputError: every problem with model, data and options that can be found before optimising.
    """
    clock = _Clock()
    _check_options(model_or_target, args, kwargs, guide, prior_ok, seed, budget)
    line = Progress(progress)
    line.update("reading the model")
    if isinstance(model_or_target, Target):
        bound = model_or_target
    else:
        bound = target(model_or_target, *args, **kwargs)
    if guide in ("mixture", "flow") and bound.dim > LARGEST_FULL_RANK:
        raise InputError(
            f"a {guide} holds full covariances, for up to {LARGEST_FULL_RANK} latent values; the "
            f"model has {bound.dim}"
        )
    own = None if isinstance(guide, str) else _read_guide(bound, guide, prior_ok)
    clock.lap("model")
    run = _Run(bound, own or guide, modes, int(seed), budget, line, clock)
    run.optimise(bound.dtype)
    notes = bound.program.notes
    reason = run.search.needs_double(run.outcome)
    if reason:
        notes = (*notes, f"computed in double precision, because in single {reason}")
        run.optimise(np.dtype(np.float64))
    run.check(checks)
    outcome, checked = run.outcome, run.checked
    pool = run.pool()
    clock.lap("draws")

    solutions = _solutions(run.search, outcome)
    trust = judge(
        outcome.verdict,
        checked.weights,
        checked.chains,
        solutions,
        bound.program.coordinate_names(),
        _tails(bound, pool),
        checked.skipped,
        checked.complete,
        own.findings_at(outcome.guide) if own else (),
        outcome.rungs,
        checked.response,
    )
    record = Record(
        guide=outcome.guide,
        sites=bound.program.sites,
        deterministics=bound.program.deterministics,
        pool=pool,
        weighed=checked.weighed,
        weights=checked.weights,
        trust=trust.word,
        findings=trust.findings,
        verdict=outcome.verdict,
        notes=notes,
        trace=run.monitor.trace.build(),
        seconds=clock.finish(),
        gradients=run.gradients,
        seed=int(seed),
        dtype=str(run.dtype),
        versions=_versions(bound.program.libraries),
        observed=bound.program.observed(bound.data),
    )
    line.finish(trust.word, gradients=run.gradients)
    return Fit(record, bound)


def load(path: str | PathLike, model: Any = None, /, *args: Any, **kwargs: Any) -> Fit:
    """Read a fit written by `fit.save`.

    Args:
        path: the file.
        model: the model or target that was fitted. Without arguments it serves `fit.predict` on
            new ones; with the arguments of the fit it also gives new densities and more draws than
            the file holds.
        *args: the model's positional arguments.
        **kwargs: the model's keyword arguments.

    Raises:
        InputError: the file is missing or damaged, or the model has other sites than the fit.
    """
    record = read(path)
    if model is None:
        return Fit(record, None)
    if not isinstance(model, Target) and not (args or kwargs) and _parameters(model):
        return Fit(record, None, model)
    bound = model if isinstance(model, Target) else target(model, *args, **kwargs)
    theirs = [(site.name, site.shape) for site in bound.program.sites]
    ours = [(site.name, site.shape) for site in record.sites]
    if theirs != ours:
        raise InputError(f"the model has sites {theirs}, the fit in {path} has {ours}")
    return Fit(record, bound)


class _Clock:
    """Wall time by phase."""

    def __init__(self):
        self.start = self._last = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def finish(self) -> dict[str, float]:
        return {**self._seconds, "total": time.perf_counter() - self.start}


def _check_options(
    model: Any, args: tuple, kwargs: dict, guide: Any, prior_ok: Any, seed: Any, budget: Any
) -> None:
    problems = []
    known = GUIDE_NAMES
    if isinstance(guide, type):
        problems.append(
            f"guide is a class; make a guide of it first, as in {guide.__name__}(model)"
        )
    elif callable(guide):
        if isinstance(model, Target) and model_of(model) is None:
            problems.append("a guide function needs a NumPyro model, whose sites it draws")
    elif not isinstance(guide, str) or guide not in known:
        hint = did_you_mean(guide, known) if isinstance(guide, str) else ""
        problems.append(f"unknown guide {guide!r}{hint}; guides: {', '.join(known)}")
    if prior_ok and isinstance(guide, str):
        problems.append("prior_ok is for a guide of your own; the named guides have every site")
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        problems.append(f"seed must be a whole number, zero or more; got {seed!r}")
    if budget is not None and not (isinstance(budget, (int, float)) and budget > 0):
        problems.append(f"budget must be a positive number of seconds, or None; got {budget!r}")
    if isinstance(model, Target):
        if args or kwargs:
            problems.append("a target has its arguments already; pass it alone")
    else:
        clashes = [name for name in _parameters(model) if name in ENGINE_OPTIONS]
        problems += [
            f"the model's argument {name!r} has the name of an option of taut.fit; bind the model "
            f"first: taut.fit(taut.target(model, ..., {name}=...))"
            for name in clashes
        ]
    if any(isinstance(v, Tracer) for v in jax.tree_util.tree_leaves((args, kwargs))):
        problems.append(
            "taut.fit decides on the host what to do next, so it cannot run inside jax.jit, vmap "
            "or grad; call it outside"
        )
    if problems:
        raise InputError(problems)


def _parameters(model: Any) -> Sequence[str]:
    try:
        return list(inspect.signature(model).parameters)
    except (TypeError, ValueError):
        return []


class _Run:
    """One fit: the optimisation in some precision, then the checks."""

    def __init__(
        self,
        bound: Target,
        guide: Any,
        modes: bool,
        seed: int,
        budget: float | None,
        line: Progress,
        clock: _Clock,
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

    def optimise(self, dtype: np.dtype) -> None:
        """Fit the guide with the model computed in `dtype`."""
        self._line.update("compiling")
        self.dtype = dtype
        self._oracle = Oracle(self._bound, dtype)
        # Traced while the oracle compiles, and compiled while the guide is fitted.
        self._constrainer = Constrainer(self._bound, dtype)
        self._clock.lap("trace")
        self._oracle.executable.wait()
        self._clock.lap("compile")
        if hasattr(self, "monitor"):
            self._spent = self.monitor.gradients
        self.monitor = Monitor(self._oracle, self._line, self._deadline)
        self.search = self._new_search()
        with single_blas_thread():
            self.outcome = self._search()
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
        with single_blas_thread():
            try:
                self.checked = run_checks(
                    self.outcome, wanted and not stopped, monitor, work, self._random(2), **options
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

    def _search(self) -> Outcome:
        monitor = self.monitor
        try:
            return self._climb(self.search.run())
        except NoFiniteStart:
            raise InputError(_no_start(self._bound)) from None
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
        if not isinstance(self._guide, str):
            return outcome
        work, resolution = self._oracle.executable.work, self._oracle.resolution
        return climb(self._guide, outcome, self.monitor, self._random(3), resolution, work)

    def _random(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, stream])


def _read_guide(bound: Target, guide: Callable, prior_ok: Collection[str]) -> Any:
    # Fits by name need nothing of the explicit interface, which takes long to import.
    from taut.infer.own_guide import read_guide

    return read_guide(bound, guide, prior_ok)


def _no_start(bound: Target) -> list[str]:
    problems = bound.program.diagnose(bound.data, np.zeros(bound.dim))
    suspects = [
        f"argument {name!r} has {int((~np.isfinite(leaf)).sum())} values that are NaN or infinite"
        for name, leaf in zip(bound.data_names, bound.data, strict=True)
        if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all()
    ]
    if not problems and not suspects:
        problems = ["the log density or its gradient is not finite"]
    return [f"no start has a finite log density: {text}" for text in (*suspects, *problems)]


def _solutions(search: Any, outcome: Outcome) -> Solutions:
    once = sum(basin.hits == 1 for basin in search.found)
    held = isinstance(outcome.guide, MixtureNormal)
    if held:
        guides, logs = list(outcome.guide.components), np.log(outcome.guide.weights)
    else:
        others = [basin.evaluation for basin in search.found[1:]]
        guides = [outcome.guide, *(evaluation.guide for evaluation in others)]
        logs = np.array([-search.settled_loss, *(-evaluation.loss for evaluation in others)])
    means, sds = np.array([g.mean() for g in guides]), np.array([g.sd() for g in guides])
    return Solutions(search.starts, means, sds, np.asarray(logs), held, once)


def _tails(bound: Target, pool: Pool) -> dict[str, Tail]:
    names = [site.name for site in bound.program.sites]
    labels = [label for n in names for label in scalar_names(n, pool.values[n].shape[1:])]
    return heavy_tails(labels, pool.flat(names))


def _versions(libraries: Sequence[str]) -> dict[str, str]:
    names = ("taut", "jax", "numpyro", *libraries)
    versions = {name: importlib.metadata.version(name) for name in names}
    return {**versions, "python": ".".join(map(str, sys.version_info[:3]))}
