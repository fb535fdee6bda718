import json

import numpy as np

from taut.cli.record import plain


def test_numpy_values_become_what_json_can_hold():
    value = {
        "single": np.float32(0.5),
        "count": np.int64(3),
        "flag": np.bool_(True),
        "array": np.array([[1, 2], [3, 4]]),
        "pair": (1, "text"),
        0: None,
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "single": 0.5,
        "count": 3,
        "flag": True,
        "array": [[1, 2], [3, 4]],
        "pair": [1, "text"],
        "0": None,
    }


def test_numbers_that_are_not_finite_become_null():
    assert plain([np.nan, np.float64("inf"), np.array([-np.inf, 1.0])]) == [None, None, [None, 1.0]]
