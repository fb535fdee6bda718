"""What a target computes, apart from its data.

A program is made once for a model and the shapes of its data, and kept: it owns the traced and
compiled functions, so that fitting new data of the same shapes traces and compiles nothing.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from taut._core.constants import with_copies
from taut._core.fingerprint import Watch
from taut._core.precision import native_dtype


@dataclasses.dataclass(frozen=True)
class Site:
    """One named latent of a model and its place in the latent vector.

    Attributes:
        name: the site's name.
        shape: shape of the constrained value.
        latent_shape: shape of its unconstrained image (shorter for a simplex, say).
        offset: where that image starts in the latent vector.
        dims: names of the plates along the leading axes of `shape`, None where there is none.
        support: the support, in NumPyro's words.
    """

    name: str
    shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    offset: int
    dims: tuple[str | None, ...] = ()
    support: str = "real"

    @property
    def size(self) -> int:
        """How many latent coordinates the site takes."""
        return int(np.prod(self.latent_shape, dtype=int))

    def take(self, z: Any) -> Any:
        """Return the site's part of a latent vector (dim,), in its latent shape."""
        return z[self.offset : self.offset + self.size].reshape(self.latent_shape)


class Program(abc.ABC):
    """A log density on R^dim as a function of (data leaves, latent vector)."""

    # The floating type it has to run in; None for JAX's own.
    dtype: np.dtype | None = None
    # Libraries besides Taut's own that decide its numbers.
    libraries: tuple[str, ...] = ()
    function: Callable
    sites: tuple[Site, ...]
    deterministics: tuple[str, ...]
    notes: tuple[str, ...]
    # What the function reads besides its data; shared by the programs made of one function.
    watch: Watch

    @functools.cached_property
    def compiled(self) -> dict[tuple[str, np.dtype], Any]:
        """What was compiled for all data of these shapes, by purpose and floating type."""
        return {}

    def __deepcopy__(self, memo: dict) -> "Program":
        # What it traced and compiled cannot be copied, and is the same for all who use it.
        return self

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return sum(site.size for site in self.sites)

    @property
    def value_names(self) -> tuple[str, ...]:
        """Names of what `constrain` makes: sites, then deterministic values."""
        return (*(site.name for site in self.sites), *self.deterministics)

    def traced(self, leaves: Sequence[Any]) -> ClosedJaxpr:
        """Return the log density and the values of `value_names`, traced in JAX's own precision.

        As a function of a latent vector (dim,) and the data leaves. It holds copies of the arrays
        that the program reads.
        """
        row = jax.ShapeDtypeStruct((self.dim,), native_dtype())

        def run(z: Any, leaves: Sequence[Any]) -> list[Any]:
            density, values = self.evaluate(leaves, z)
            return [density, *(values[name] for name in self.value_names)]

        with self.watch.running():
            return with_copies(jax.make_jaxpr(run)(row, leaves))

    def evaluate(self, leaves: Sequence[Any], z: Any) -> tuple[Any, dict[str, Any]]:
        """Log density and constrained values at one latent vector (dim,)."""
        return self.log_density(leaves, z), self.constrain(leaves, z)

    @abc.abstractmethod
    def log_density(self, leaves: Sequence[Any], z: Any) -> Any:
        """Log density at one latent vector (dim,), Jacobian terms included; a scalar."""

    @abc.abstractmethod
    def constrain(self, leaves: Sequence[Any], z: Any) -> dict[str, Any]:
        """Sites and deterministic values at one latent vector (dim,)."""

    @abc.abstractmethod
    def unconstrain(self, leaves: Sequence[Any], values: dict[str, Any]) -> tuple[Any, Any]:
        """Latent vector (dim,) of given site values, and log|det d values / d z|."""

    @abc.abstractmethod
    def log_joint(self, leaves: Sequence[Any], values: dict[str, Any]) -> Any:
        """Log joint density in the model's own coordinates, without Jacobian terms."""

    def observed(self, leaves: Sequence[Any]) -> dict[str, Any]:
        """Return the data of observed sites that are arguments as they were given, by site."""
        return {}

    def remarks(self, names: Sequence[str], leaves: Sequence[Any]) -> list[str]:
        """Say what of the data may be a mistake.

        Args:
            names: of the data leaves.
            leaves: arrays as they were given.
        """
        return []

    def diagnose(self, leaves: Sequence[Any], z: np.ndarray) -> list[str]:
        """Say which parts of the density are not finite at a latent vector."""
        return []

    def coordinate_names(self) -> list[str]:
        """Return a name for each latent coordinate, such as 'theta[3]'."""
        return [
            site.name + (f"[{','.join(map(str, index))}]" if site.latent_shape else "")
            for site in self.sites
            for index in np.ndindex(site.latent_shape)
        ]
