"""How many draws of everything a plot can ask for without filling the memory."""

import numpy as np

from taut.report.fitted import Fitted

_NUMBERS = 2e7
_FEWEST = 100


def affordable_draws(fit: Fitted, most: int) -> int:
    """Return a number of draws of all sites, observed ones included: `most`, or fewer of many."""
    one = sum(array[0].size for array in fit.sample(1).values())
    one += sum(np.size(data) for data in fit.observed.values())
    return int(np.clip(_NUMBERS / max(one, 1), _FEWEST, most))
