"""Scalars whose sd rests on a few draws are named, others are not."""

import numpy as np
import pytest
from seeds import EACH_SEED

from taut.diagnostics.tails import OF_SOME, Limits, Tail, close, heavy_tails

DRAWS = 4096


@EACH_SEED
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
    assert all(tail.kurtosis > OF_SOME.kurtosis for tail in found.values())


@EACH_SEED
def test_a_power_tells_itself_where_its_far_end_was_not_reached(seed):
    """Student's t of three degrees has the shape 1/3; those of 40 tails scatter by 0.1 each.

    One draw in 4,000 is beyond 20.
    """
    rng = np.random.default_rng(seed)
    powers = rng.standard_t(3.0, (2 * DRAWS, 20))
    powers = np.stack([column[np.abs(column) < 20.0][:DRAWS] for column in powers.T], axis=1)
    found = heavy_tails([f"x[{i}]" for i in range(20)], powers)
    assert any(tail.shape > OF_SOME.shape for tail in found.values())
    # An exponential tail has the shape zero; 10 of them stay 2.5 of its errors below the limit.
    rates = rng.exponential(size=(DRAWS, 10))
    assert not heavy_tails([f"x[{i}]" for i in range(10)], rates)


def test_the_number_is_the_kurtosis():
    # One draw of n stands apart: kurtosis (n - 2) + 1 / (n - 1).
    values = np.zeros((100, 1))
    values[3] = -7.0
    assert heavy_tails(["x"], values)["x"].kurtosis == pytest.approx(98.0 + 1.0 / 99.0)


@pytest.mark.parametrize(
    ("tails", "expected"),
    [
        ([], False),
        ([Tail(17.0, 0.2)], True),
        ([Tail(17.0, np.nan), Tail(31.0, 0.29)], True),
        ([Tail(17.0, 0.2), Tail(33.0, 0.2)], False),
        ([Tail(17.0, 0.2), Tail(9.0, 0.39)], True),
        ([Tail(17.0, 0.2), Tail(9.0, 0.41)], False),
    ],
)
def test_close_is_what_more_draws_may_not_bear_out(tails, expected):
    assert close({f"x[{i}]": tail for i, tail in enumerate(tails)}) is expected


def test_the_limit_is_that_of_the_draws():
    # Two draws of 58 stand apart on either side: their fourth powers are a 29th, as their squares.
    values = np.zeros((58, 1))
    values[:2, 0] = -1.0, 1.0
    tail = heavy_tails(["x"], values)["x"]
    assert (tail.kurtosis, tail.limits) == (pytest.approx(29.0), OF_SOME)
    assert not heavy_tails(["x"], values, Limits(30.0, 0.3))
