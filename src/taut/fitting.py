"""Fitting, from a model to a result: the stages put together."""

import importlib.metadata
import inspect
import sys
import time
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import jax
import numpy as np

from taut._core.errors import InputError, did_you_mean
from taut._core.threads import single_blas_thread
from taut.diagnostics.checks import Checks, run_checks
from taut.diagnostics.trust import Solutions, judge
from taut.loop.gaussian import FAMILIES, GaussianSearch
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.progress import Progress
from taut.loop.stages import Outcome
from taut.loop.starts import NoFiniteStart
from taut.loop.verdict import Verdict
from taut.posterior.pool import Pool
from taut.results.archive import read
from taut.results.fit_result import Fit
from taut.results.record import Record
from taut.targets.constrainer import Constrainer
from taut.targets.oracle import Oracle
from taut.targets.target import Target, target

ENGINE_OPTIONS = ("guide", "seed", "budget", "progress", "checks")


def fit(
    model_or_target: Callable | Target,
    *args: Any,
    guide: str = "auto",
    seed: int = 0,
    budget: float | None = None,
    progress: bool = True,
    checks: bool = True,
    **kwargs: Any,
) -> Fit:
    """Fit a posterior and say whether to believe it.

    Args:
        model_or_target: a NumPyro model, or a target made by `taut.target` or
            `taut.from_log_density`.
        *args: the model's positional arguments.
        guide: "auto", "full-rank", "mean-field" or "low-rank". "auto" is full rank up to 256 latent
            values and low rank above.
        seed: decides every random number of the fit.
        budget: seconds after which to stop and return the best so far; None for no limit.
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
    _check_options(model_or_target, args, kwargs, guide, seed, budget)
    line = Progress(progress)
    line.update("reading the model")
    if isinstance(model_or_target, Target):
        bound = model_or_target
    else:
        bound = target(model_or_target, *args, **kwargs)
    clock.lap("model")
    line.update("compiling")
    oracle = Oracle(bound)
    clock.lap("compile")
    deadline = None if budget is None else clock.start + budget
    monitor = Monitor(oracle, line, deadline)
    seeds = [np.random.default_rng([seed, stream]) for stream in range(4)]

    with single_blas_thread():
        search = GaussianSearch(guide, bound.dim, monitor, oracle.resolution, seeds[0], seeds[1])
        outcome = _optimise(search, monitor, bound)
        clock.lap("fit")
        line.update("checking", gradients=monitor.gradients)
        checked = _check(outcome, checks, oracle, monitor, seeds[2])
        clock.lap("checks")
        pool = _pool(bound, checked)
    clock.lap("draws")

    solutions = _solutions(search, outcome)
    trust = judge(
        outcome.verdict,
        checked.weights,
        checked.chains,
        solutions,
        bound.program.coordinate_names(),
        checked.skipped,
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
        notes=bound.program.notes,
        trace=monitor.trace.build(),
        seconds=clock.finish(),
        gradients=monitor.gradients,
        seed=seed,
        versions=_versions(),
        observed=bound.program.observed(bound.data),
    )
    line.finish(trust.word, gradients=monitor.gradients)
    return Fit(record, bound)


def load(
    path: str | PathLike, model: Callable | Target | None = None, *args: Any, **kwargs: Any
) -> Fit:
    """Read a fit written by `fit.save`.

    Args:
        path: the file.
        model: the model or target that was fitted, needed only for new densities and for more draws
            than the file holds.
        *args: the model's positional arguments.
        **kwargs: the model's keyword arguments.

    Raises:
        InputError: the file is missing or damaged, or the model has other sites than the fit.
    """
    record = read(path)
    if model is None:
        return Fit(record, None)
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
        self._seconds[phase] = now - self._last
        self._last = now

    def finish(self) -> dict[str, float]:
        return {**self._seconds, "total": time.perf_counter() - self.start}


def _check_options(
    model: Any, args: tuple, kwargs: dict, guide: Any, seed: Any, budget: Any
) -> None:
    problems = []
    known = ("auto", *FAMILIES)
    if not isinstance(guide, str) or guide not in known:
        hint = did_you_mean(guide, known) if isinstance(guide, str) else ""
        problems.append(f"unknown guide {guide!r}{hint}; guides: {', '.join(known)}")
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
    if any(isinstance(v, jax.core.Tracer) for v in jax.tree_util.tree_leaves((args, kwargs))):
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


def _optimise(search: GaussianSearch, monitor: Monitor, bound: Target) -> Outcome:
    try:
        return search.run()
    except NoFiniteStart:
        raise InputError(_no_start(bound)) from None
    except OutOfTime:
        verdict = Verdict(False, "budget", "the budget was spent before the optimiser converged")
    except KeyboardInterrupt:
        verdict = Verdict(False, "interrupted", "interrupted before the optimiser converged")
        monitor.progress.interrupt()
        if monitor.best is None:
            raise
    monitor.deadline = None
    return Outcome(monitor.best, verdict)


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


def _check(
    outcome: Outcome, wanted: bool, oracle: Oracle, monitor: Monitor, rng: np.random.Generator
) -> Checks:
    try:
        return run_checks(outcome, wanted, monitor, oracle.executable.work, rng)
    except KeyboardInterrupt:
        monitor.progress.interrupt()
    except OutOfTime:
        pass
    monitor.deadline = None
    reason = "The trust checks were stopped before they ended."
    return run_checks(outcome, False, monitor, oracle.executable.work, rng, reason)


def _pool(bound: Target, checked: Checks) -> Pool:
    values = Constrainer(bound)(checked.z)
    return Pool(values, checked.z, checked.log_p, checked.source, checked.independent)


def _solutions(search: GaussianSearch, outcome: Outcome) -> Solutions:
    guides = [outcome.guide, *(evaluation.guide for evaluation in search.others)]
    elbos = [-search.settled_loss, *(-evaluation.loss for evaluation in search.others)]
    return Solutions(
        search.starts,
        np.array([g.mean() for g in guides]),
        np.array([g.sd() for g in guides]),
        np.array(elbos),
    )


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in ("taut", "jax", "numpyro")}
    return {**versions, "python": ".".join(map(str, sys.version_info[:3]))}
