"""Functions that are traced, changed as a program, and only then seen by JAX's transformations."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun


def retraced(function: Callable, change: Callable[[ClosedJaxpr], ClosedJaxpr]) -> Callable:
    """Return a function that JAX sees as changed.

    Args:
        function: of pytrees of arrays, to be traced where the result is called.
        change: what to make of the traced function.
    """

    def run(*arguments: Any) -> Any:
        # JAX keeps what it traced for as long as the function traced is there: this one goes.
        once = jax.make_jaxpr(lambda *a: function(*a), return_shape=True)
        closed, shapes = once(*arguments)
        flat = jaxpr_as_fun(change(closed))(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), flat)

    return run
