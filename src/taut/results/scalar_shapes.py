"""How hard each scalar's mean is for a guide: the Pareto shape of value times weight."""

from collections.abc import Mapping

import numpy as np

from taut.diagnostics.psis import scalar_k_hat
from taut.posterior.draws import Draws
from taut.report.names import scalar_names


def scalar_k_hats(weighed: Draws, values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return k-hat by scalar.

    Args:
        weighed: the guide's own draws.
        values: the same draws in the model's coordinates, each with a leading axis of draws.
    """
    ratios = weighed.log_ratios
    found: dict[str, float] = {}
    for name, value in values.items():
        columns = np.asarray(value, float).reshape(len(ratios), -1)
        for label, column in zip(scalar_names(name, value.shape[1:]), columns.T, strict=True):
            found[label] = scalar_k_hat(column, ratios)
    return found
