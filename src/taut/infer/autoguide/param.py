"""One learnable param of a guide."""

from typing import Any

import numpyro


def param(name: str, start: Any, **options: Any) -> Any:
    """Declare a param and return its value.

    Args:
        name: its name.
        start: the value to start from, or a function from a random key to it.
        **options: `constraint` and `event_dim`, as `numpyro.param` takes them.
    """
    return numpyro.param(name, start, **options)
