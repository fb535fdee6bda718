"""Why no start has a finite log density: which argument or site is at fault, at which value."""

import numpy as np

from taut._core.precision import precision_of
from taut.targets.not_finite import NotFinite
from taut.targets.target import Target


def no_start(bound: Target) -> list[str]:
    """Say why the log density of a target is not finite where the search starts."""
    program, data = bound.program, bound.data
    arguments = NotFinite(program, bound.data_names, data)
    problems = arguments.problems()
    if not arguments.known:
        with precision_of(bound.dtype):
            problems += program.diagnose(data, np.zeros(bound.dim))
    if not problems:
        problems = ["the log density or its gradient is not finite"]
    return [f"no start has a finite log density: {text}" for text in problems]
