"""Draws by the names that sites and their scalars have in tables."""

import numpy as np
import pytest

from taut.report.names import named_draws

DRAWS = {
    "my b": np.arange(12.0).reshape(3, 2, 2),
    "c[0]": np.arange(3.0),
    "c": np.arange(6.0).reshape(3, 2),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my b", DRAWS["my b"]),
        ("my b[1,0]", DRAWS["my b"][:, 1, 0]),
        ("my b[1, 0]", DRAWS["my b"][:, 1, 0]),
        ("c[0]", DRAWS["c[0]"]),  # a site of that name comes first
        ("c[1]", DRAWS["c"][:, 1]),
    ],
)
def test_a_name_of_a_table_finds_its_draws(name, expected):
    np.testing.assert_array_equal(named_draws(DRAWS, name), expected)


@pytest.mark.parametrize(
    "name", ["b", "my b[2,0]", "my b[1]", "my b[-1,0]", "c[0][0]", "c[", "[0]"]
)
def test_other_names_find_nothing(name):
    assert named_draws(DRAWS, name) is None
