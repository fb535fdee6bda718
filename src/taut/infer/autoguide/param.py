"""Learnable params of a guide, and of the model inside it."""

from typing import Any

import numpyro

from taut.infer.autoguide.bound_model import BoundModel


def param(name: str, start: Any, **options: Any) -> Any:
    """Declare a param and return its value.

    Args:
        name: its name.
        start: the value to start from, or a function from a random key to it.
        **options: `constraint` and `event_dim`, as `numpyro.param` takes them.
    """
    return numpyro.param(name, start, **options)


def model_params(bound: BoundModel) -> dict[str, Any]:
    """Declare the model's own params in the guide, which needs their values, and return them."""
    return {
        name: numpyro.param(name, start, **options)
        for name, (start, options) in bound.params().items()
    }
