"""Taut: variational inference for NumPyro models that says whether to believe it.

`taut.fit(model, *data)` fits a posterior with nothing to choose. Names are imported when first
used, so that `import taut` costs nothing.
"""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taut._core.errors import InputError, MissingExtraError, TautError, UntrustedError
    from taut.checking.check import check
    from taut.checking.problem import Problem
    from taut.checking.report import GuideReport
    from taut.diagnostics.finding import Finding
    from taut.fitting.calls import fit, load
    from taut.loop.verdict import Verdict
    from taut.mcmc.nuts import nuts
    from taut.mcmc.nuts_run import NutsRun
    from taut.predictive.prior import prior
    from taut.report.comparison import Comparison, compare
    from taut.results.fit_result import Fit
    from taut.targets.target import Target, from_log_density, target

__version__ = "0.1.0"

# NumPyro imports tqdm's notebook bar, which Taut does not use, and it complains without ipywidgets.
warnings.filterwarnings("ignore", message="IProgress not found")

_HOMES = {
    "Comparison": "taut.report.comparison",
    "Finding": "taut.diagnostics.finding",
    "Fit": "taut.results.fit_result",
    "GuideReport": "taut.checking.report",
    "InputError": "taut._core.errors",
    "MissingExtraError": "taut._core.errors",
    "NutsRun": "taut.mcmc.nuts_run",
    "Problem": "taut.checking.problem",
    "Target": "taut.targets.target",
    "TautError": "taut._core.errors",
    "UntrustedError": "taut._core.errors",
    "Verdict": "taut.loop.verdict",
    "check": "taut.checking.check",
    "compare": "taut.report.comparison",
    "fit": "taut.fitting.calls",
    "from_log_density": "taut.targets.target",
    "load": "taut.fitting.calls",
    "nuts": "taut.mcmc.nuts",
    "prior": "taut.predictive.prior",
    "target": "taut.targets.target",
}

# Not among the public names, and so not loaded by a star import.
_SUBMODULES = frozenset({"guides", "infer"})

__all__ = [
    "Comparison",
    "Finding",
    "Fit",
    "GuideReport",
    "InputError",
    "MissingExtraError",
    "NutsRun",
    "Problem",
    "Target",
    "TautError",
    "UntrustedError",
    "Verdict",
    "__version__",
    "check",
    "compare",
    "fit",
    "from_log_density",
    "load",
    "nuts",
    "prior",
    "target",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"taut.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'taut' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
