"""What users call: `taut.fit` and `taut.load`."""

from collections.abc import Callable, Collection
from os import PathLike
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut._core.precision import native_dtype
from taut.diagnostics.improper import no_draws
from taut.diagnostics.solutions import Solutions
from taut.diagnostics.tails import OF_MANY, OF_SOME, close, heavy_tails
from taut.diagnostics.trust import judge
from taut.fitting.entry import read_entry
from taut.fitting.options import is_switch, parameters_of
from taut.fitting.run import Clock, Run
from taut.guides.mixture_normal import MixtureNormal
from taut.loop.progress import Progress
from taut.loop.stages import Outcome
from taut.posterior.pool import Pool
from taut.report.names import scalar_names
from taut.results.archive import read
from taut.results.fit_result import Fit
from taut.results.record import Record
from taut.targets.target import Target, target


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
    clock = Clock()
    line = Progress(is_switch(progress) and bool(progress))
    line.update("reading the model")
    switches = {"modes": modes, "progress": progress, "checks": checks}
    bound, own = read_entry(model_or_target, args, kwargs, guide, prior_ok, seed, budget, switches)
    clock.lap("model")
    run = Run(bound, own or guide, modes, int(seed), budget, line, clock)
    run.optimise(bound.dtype)
    unread = (_unread_note(name) for name in run.unread)
    notes = (*bound.program.notes, *bound.remarks(), *unread)
    reason = bound.coarse if bound.dtype != native_dtype() else ""
    if not reason and (reason := run.search.needs_double(run.outcome)):
        run.optimise(np.dtype(np.float64))
    if reason:
        notes = (*notes, f"computed in double precision, because in single {reason}")
    run.check(checks)
    outcome, checked = run.outcome, run.checked
    pool = run.pool()
    scalars = _scalars(bound, pool)
    tails = heavy_tails(*scalars, OF_SOME)
    clock.lap("draws")
    if close(tails) and (longer := run.look_longer(pool)) is not None:
        pool, scalars = longer, _scalars(bound, longer)
        tails = heavy_tails(*scalars, OF_MANY)
        clock.lap("checks")

    solutions, coordinates = _solutions(run.search, outcome), bound.program.coordinate_names()
    trust = judge(
        outcome.verdict,
        checked.weights,
        checked.chains,
        solutions,
        coordinates,
        tails,
        checked.skipped,
        checked.complete,
        own.findings_at(outcome.guide) if own else (),
        outcome.rungs,
        checked.response,
        checked.endless,
        no_draws(*scalars, coordinates, pool.z),
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
        versions=run.versions,
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
    if not isinstance(model, Target) and not (args or kwargs) and parameters_of(model):
        return Fit(record, None, model)
    bound = model if isinstance(model, Target) else target(model, *args, **kwargs)
    theirs = [(site.name, site.shape) for site in bound.program.sites]
    ours = [(site.name, site.shape) for site in record.sites]
    if theirs != ours:
        raise InputError(f"the model has sites {theirs}, the fit in {path} has {ours}")
    return Fit(record, bound)


def _unread_note(name: str) -> str:
    return f"no value of argument {name!r} enters the log density; if it is data, is obs= missing?"


def _solutions(search: Any, outcome: Outcome) -> Solutions:
    once = sum(basin.hits == 1 for basin in search.found)
    held = isinstance(outcome.guide, MixtureNormal)
    if held:
        guides, logs = list(outcome.guide.components), np.log(outcome.guide.weights)
    else:
        others = [basin.evaluation for basin in search.found[1:]]
        guides = [outcome.guide, *(evaluation.guide for evaluation in others)]
        logs = np.array([-search.settled_loss, *(-evaluation.loss for evaluation in others)])
    return Solutions(search.starts, guides, np.asarray(logs), held, once, outcome.joined)


def _scalars(bound: Target, pool: Pool) -> tuple[list[str], np.ndarray]:
    names = [site.name for site in bound.program.sites]
    labels = [label for n in names for label in scalar_names(n, pool.values[n].shape[1:])]
    return labels, pool.flat(names)
