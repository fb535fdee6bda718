"""A plain JAX log density over a pytree as a program."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.errors import InputError, first_few
from taut._core.fingerprint import Watch
from taut.targets.abstract_run import NEEDS_A_VALUE, WRITE_IN_JAX, label_of
from taut.targets.location import model_location, plain_words
from taut.targets.program import Program, Site


class DensityProgram(Program):
    """The program of a function from a pytree of arrays to a log density.

    Args:
        function: `function(values)` or `function(values, data)`, a scalar.
        init: a pytree of arrays that gives the shapes; every real value is allowed.
        data_structure: structure of the data pytree, or None if the function takes no data.
        watch: what notices changes in what the function reads.
    """

    def __init__(self, function: Callable, init: Any, data_structure: Any, watch: Watch):
        paths, structure = jax.tree_util.tree_flatten_with_path(init)
        if not paths:
            raise InputError("init has no arrays: a log density needs at least one value to infer")
        sites, offset = [], 0
        for path, value in paths:
            shape, dtype = tuple(np.shape(value)), np.asarray(value).dtype
            if not np.issubdtype(dtype, np.number):
                raise InputError(f"init{jax.tree_util.keystr(path)} is not numeric")
            if np.issubdtype(dtype, np.complexfloating):
                raise InputError(
                    f"init{jax.tree_util.keystr(path)} is complex, and every value of a log "
                    "density is real: give its real and imaginary parts"
                )
            site = Site(_site_name(path), shape, shape, offset, (None,) * len(shape))
            offset += site.size
            sites.append(site)
        names = [site.name for site in sites]
        doubled = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if doubled:
            raise InputError(
                f"init has more than one value called {first_few(doubled)}: a dot joins the keys "
                "of nested containers; rename one"
            )
        self.function = function
        self.watch = watch
        self.structure = structure
        self.data_structure = data_structure
        self.sites = tuple(sites)
        self.deterministics = ()
        self.notes = ()

    def log_density(self, leaves: Sequence[Any], z: Any) -> Any:
        """Log density at one latent vector (dim,); a scalar."""
        values = jax.tree_util.tree_unflatten(self.structure, [s.take(z) for s in self.sites])
        return self._evaluate(leaves, values)

    def constrain(self, leaves: Sequence[Any], z: Any) -> dict[str, Any]:
        """The values at one latent vector (dim,), by name."""
        return {site.name: site.take(z) for site in self.sites}

    def unconstrain(self, leaves: Sequence[Any], values: dict[str, Any]) -> tuple[Any, Any]:
        """Latent vector (dim,) of given values; the Jacobian is one."""
        parts = [jnp.reshape(jnp.asarray(values[site.name]), -1) for site in self.sites]
        return jnp.concatenate(parts), jnp.zeros(())

    def log_joint(self, leaves: Sequence[Any], values: dict[str, Any]) -> Any:
        """The log density at given values."""
        flat = [jnp.asarray(values[site.name]) for site in self.sites]
        return self._evaluate(leaves, jax.tree_util.tree_unflatten(self.structure, flat))

    def _evaluate(self, leaves: Sequence[Any], values: Any) -> Any:
        given = [values]
        if self.data_structure is not None:
            given.append(jax.tree_util.tree_unflatten(self.data_structure, leaves))
        try:
            result = self.function(*given)
        except NEEDS_A_VALUE as error:
            raise InputError(
                f"the log density {label_of(self.function)!r} uses its values where NumPy or "
                f"Python needs plain numbers{model_location(error)}. {WRITE_IN_JAX}"
            ) from error
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the log density {label_of(self.function)!r} raised {type(error).__name__}"
                f"{model_location(error)}: {plain_words(error)}"
            ) from error
        if problem := _wrong_result(result):
            raise InputError(problem)
        return result


def check_function(function: Any, has_data: bool) -> None:
    """Check that a log density can be called with values, and with data where there are any.

    Raises:
        InputError: it is no function, or takes other arguments.
    """
    if not callable(function):
        raise InputError(
            f"a log density is a function of the parameters; got {type(function).__name__}"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a callable without a readable signature
        return
    try:
        signature.bind(*(("values", "data") if has_data else ("values",)))
    except TypeError:
        given = "(values, data)" if has_data else "(values), as no data were given"
        raise InputError(
            f"the log density is called as {label_of(function)}{given}; its signature is "
            f"{label_of(function)}{signature}. Write taut.from_log_density(function, init, data) "
            "where it takes data, and leave them out where it takes none"
        ) from None


def _wrong_result(result: Any) -> str:
    """Say why what a function returned is no log density, or return an empty string."""
    if result is None:
        return "the log density returned None; is its return statement missing?"
    if not isinstance(result, (jax.Array, np.ndarray, np.generic, int, float, complex)):
        return f"the log density must return a scalar; it returned a {type(result).__name__}"
    shape = jnp.shape(result)
    if shape != ():
        return f"the log density must return a scalar; it returned shape {shape}"
    if jnp.iscomplexobj(result):
        return "the log density must be real; it is complex: return its real part, jnp.real(...)"
    return ""


def _site_name(path: tuple) -> str:
    if not path:
        return "x"
    return ".".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)
