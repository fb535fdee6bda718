"""What `taut.fit` does with a guide of the user's own before it fits it: read it, or refuse it."""

import functools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpyro.infer.autoguide import AutoGuide as NumPyroAutoGuide

from taut._core.fingerprint import Watch, array_key, identity
from taut._core.precision import native_dtype
from taut.checking.check import examine
from taut.checking.folds import Folds
from taut.checking.running import Call
from taut.diagnostics.finding import Finding
from taut.guides.program import ProgramGuide
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.formula_search import FormulaSearch
from taut.infer.guide_call import GuideCall
from taut.infer.guide_findings import as_finding, fold_findings, folds_of
from taut.infer.guide_program import GuideProgram
from taut.infer.kept_priors import run_with_priors
from taut.infer.program_search import ProgramSearch
from taut.loop.monitor import Monitor
from taut.predictive.calls import bound_call
from taut.targets.target import ProgramStore, Target

GUIDES_KEPT = 8

# Autoguides of these are one to one.
_LIBRARIES = ("numpyro", "taut")

# Warnings that say q may not be the density its draws come from.
_DOUBTFUL = ("auxiliary",)

_ABOUT = "About the guide: "

_FORMULA = Finding(
    "guide",
    float("nan"),
    float("nan"),
    "note",
    "About the guide: its factor makes its density a formula without a normaliser. It was fitted "
    "as that formula, and its draws come from the formula, not from its sample statements.",
)


class OwnGuide:
    """A guide function that was found to fit its model, with what was compiled of it.

    Args:
        target: the model with its data.
        guide: the function.
        findings: what was found about it that is no error.
        formula: whether a factor makes its density a formula without a normaliser.
        folds: what tells whether its map is one to one; None if there is nothing to tell.
        watch: notices changes in what model and guide read.
    """

    def __init__(
        self,
        target: Target,
        guide: Callable,
        findings: tuple[Finding, ...],
        formula: bool,
        folds: Folds | None,
        watch: Watch,
    ):
        self._target, self._guide = target, guide
        self.findings, self._formula, self.watch = findings, formula, watch
        self._programs: dict[np.dtype, GuideProgram] = {}
        self._folds = folds

    def findings_at(self, fitted: ProgramGuide) -> tuple[Finding, ...]:
        """Return what was found about it, first and at its fitted parameters."""
        if self._formula or self._folds is None or not fitted.params:
            return self.findings
        with self.watch.running():
            return (*self.findings, *fold_findings(self._folds, dict(fitted.params)))

    def search(self, monitor: Monitor, seed: int, dtype: np.dtype) -> Any:
        """Return what fits it with the model computed in `dtype`."""
        if self._formula:
            return FormulaSearch(self._target, self._guide, monitor, seed)
        if dtype not in self._programs:
            self._programs[dtype] = GuideProgram(self._target, self._guide, dtype, self.watch)
        return ProgramSearch(self._programs[dtype], monitor, seed)


def read_guide(target: Target, guide: Callable, prior_ok: Collection[str] = ()) -> OwnGuide:
    """Check a guide function against its model, unless that was done for the same data before.

    Args:
        target: the model with its data.
        guide: the function.
        prior_ok: latent sites that it may leave out; they are drawn from their priors.

    Raises:
        InputError: everything that is wrong with it, at once.
    """
    model, arguments = bound_call(target)
    data = tuple(array_key(leaf) for leaf in target.data)
    key = ("own guide", identity(model), identity(guide), native_dtype())
    functions: Any = (model, guide)
    family = _GUIDES.family(key, functions)
    form = (arguments.key(), data, tuple(sorted(prior_ok)))
    found = _GUIDES.find(key, form)
    if found is None:
        with family.watch.running():
            found = _read(target, guide, prior_ok, family.watch)
        _GUIDES.keep(key, form, found)
    return found


def _read(target: Target, guide: Callable, prior_ok: Collection[str], watch: Watch) -> OwnGuide:
    call = GuideCall(target, guide)
    if isinstance(guide, (AutoGuide, NumPyroAutoGuide)) and guide.model is call.given_model:
        # Made from the model: it fits it. A class of the user's may still compute what it likes.
        programs = (Call(f, call.args, call.kwargs) for f in (call.guide, call.model))
        ours = type(guide).__module__.partition(".")[0] in _LIBRARIES
        return OwnGuide(target, guide, (), False, None if ours else folds_of(*programs), watch)
    examined = examine(call.given_model, guide, call.args, call.kwargs, prior_ok)
    report = examined.report
    if any(problem.kind != "factor" for problem in report.errors):
        report.raise_()
    if prior_ok:
        names = tuple(sorted(prior_ok))
        guide = functools.partial(run_with_priors, guide, call.given_model, names)
    formula = any(problem.kind == "factor" for problem in report.problems)
    told = (p for p in report.problems if p.severity != "error" and p.kind != "factor")
    findings = [as_finding(p, "doubt" if p.kind in _DOUBTFUL else "note", _ABOUT) for p in told]
    findings = (*findings, *([_FORMULA] if formula else []))
    return OwnGuide(target, guide, findings, formula, examined.folds, watch)


_GUIDES = ProgramStore(GUIDES_KEPT)
