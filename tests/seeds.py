"""The seeds that tests of random results run over.

Three of them in each run of the tests, all eleven with those marked `slow`.
"""

import pytest

SEEDS = tuple(range(11))

_EVERY_RUN = 3

EACH_SEED = pytest.mark.parametrize(
    "seed",
    [pytest.param(s, marks=() if s < _EVERY_RUN else pytest.mark.slow) for s in SEEDS],
)
