"""A fit as plain data, for `trust.json` and for `--json`.

Numbers that are not finite become null, since JSON has no other word for them.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def record_of(fit: Any) -> dict[str, Any]:
    """Return what a fit says about itself: trust, findings, verdict, evidence and cost."""
    verdict = fit.verdict
    return plain(
        {
            "trust": fit.trust,
            "verdict": {
                "converged": verdict.converged,
                "reason": verdict.reason,
                "message": verdict.message,
            },
            "findings": [
                {
                    "name": finding.name,
                    "value": finding.value,
                    "threshold": finding.threshold,
                    "level": finding.level,
                    "message": finding.message,
                    "advice": finding.advice,
                    "reference": finding.reference,
                }
                for finding in fit.findings
            ],
            "notes": fit.notes,
            "guide": fit.guide_name,
            "latent_coordinates": fit.dim,
            "elbo": _with_error(fit.elbo),
            "log_evidence": _with_error(fit.log_evidence),
            "gradients": fit.gradients,
            "seconds": fit.seconds,
        }
    )


def plain(value: Any) -> Any:
    """Turn nested mappings, sequences and NumPy values into what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _with_error(estimate: tuple[float, float]) -> dict[str, float]:
    value, error = estimate
    return {"value": value, "standard_error": error}
