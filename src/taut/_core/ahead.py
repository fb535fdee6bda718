"""Functions that can be compiled before they are called, beside other work.

`jax.jit` compiles in the first call, which then waits. What is going to be called is often known
earlier, from shapes alone: then one function compiles in a thread while the next is traced.
"""

from collections.abc import Callable, Hashable
from typing import Any

import jax

from taut._core.background import Compiled
from taut._core.precision import native_dtype


class Ahead:
    """A function as `jax.jit` makes it, compiled once for each form of its arguments.

    Args:
        function: what to compile.
        options: XLA options, by the jaxpr of the function.
    """

    def __init__(self, function: Callable, options: Callable[[Any], dict[str, Any] | None]):
        self._jitted = jax.jit(function)
        self._options = options
        self._made: dict[Hashable, tuple[Compiled, Any]] = {}

    def prepare(self, *arguments: Any) -> Any:
        """Trace for arguments, or for shapes of them, and have the rest done in a thread.

        Returns:
            Shapes of what a call returns.
        """
        if _jit_is_off():
            return jax.eval_shape(self._jitted, *arguments)
        return self._prepared(_form(arguments), arguments)[1]

    def __call__(self, *arguments: Any) -> Any:
        """Call the function; the first call for a form of arguments waits until it is compiled."""
        # Arrays that were put on certain devices decide where the function runs.
        leaves = jax.tree.leaves(arguments)
        if _jit_is_off() or any(isinstance(x, jax.Array) and x.committed for x in leaves):
            return self._jitted(*arguments)
        return self._prepared(_form(arguments), arguments)[0](*arguments)

    def _prepared(self, form: Hashable, arguments: tuple) -> tuple[Compiled, Any]:
        if form not in self._made:
            traced = self._jitted.trace(*arguments)
            options = self._options(traced.jaxpr.jaxpr)
            compiled = Compiled(traced.lower(), options, native_dtype())
            self._made[form] = compiled, traced.out_info
        return self._made[form]


def _jit_is_off() -> bool:
    return jax.config.jax_disable_jit  # pyright: ignore[reportAttributeAccessIssue]


def _form(arguments: tuple) -> Hashable:
    leaves, structure = jax.tree.flatten(arguments)
    types = (jax.typeof(x) if not isinstance(x, jax.ShapeDtypeStruct) else x for x in leaves)
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return structure, tuple((t.shape, t.dtype) for t in types), device
