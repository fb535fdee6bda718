"""A plain JAX log density over a pytree as a program."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.errors import InputError, first_few
from taut._core.fingerprint import Watch
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
            shape = tuple(np.shape(value))
            if not np.issubdtype(np.asarray(value).dtype, np.number):
                raise InputError(f"init{jax.tree_util.keystr(path)} is not numeric")
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
        if self.data_structure is None:
            result = self.function(values)
        else:
            data = jax.tree_util.tree_unflatten(self.data_structure, leaves)
            result = self.function(values, data)
        shape = jnp.shape(result)
        if shape != ():
            raise InputError(f"the log density must return a scalar; it returned shape {shape}")
        return result


def _site_name(path: tuple) -> str:
    if not path:
        return "x"
    return ".".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)
