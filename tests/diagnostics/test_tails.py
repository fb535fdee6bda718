"""Scalars whose sd rests on a few draws are named, others are not."""

import numpy as np
import pytest
from seeds import SEEDS

from taut.diagnostics.tails import LARGE_KURTOSIS, heavy_tails

DRAWS = 4096


@pytest.mark.parametrize("seed", SEEDS)
def test_heavy_tails_are_named_and_others_are_not(seed):
    rng = np.random.default_rng(seed)
    columns = {
        "normal": rng.standard_normal(DRAWS),
        "constant": np.ones(DRAWS),
        "bounded": rng.uniform(size=DRAWS),
        "far": 1e200 * rng.standard_normal(DRAWS),
        # Kurtosis 7.5, and that of so many draws scatters by about 1.
        "gamma": rng.gamma(4.0 / 3.0, size=DRAWS),
        "lognormal": rng.lognormal(0.0, 1.5, DRAWS),
        "cauchy": 100.0 + rng.standard_cauchy(DRAWS),
        "pareto": rng.pareto(1.0, DRAWS),
    }
    found = heavy_tails(list(columns), np.column_stack(list(columns.values())))
    assert set(found) == {"lognormal", "cauchy", "pareto"}
    assert all(kurtosis > LARGE_KURTOSIS for kurtosis in found.values())


def test_the_number_is_the_kurtosis():
    # One draw of n stands apart: kurtosis (n - 2) + 1 / (n - 1).
    values = np.zeros((100, 1))
    values[3] = -7.0
    assert heavy_tails(["x"], values) == {"x": pytest.approx(98.0 + 1.0 / 99.0)}
