"""A model with arguments, seen from an autoguide: values, Jacobians and density of its latents."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpyro
from jax.core import Tracer
from numpyro.distributions.util import sum_rightmost

from taut.infer.autoguide.run_model import DEFAULT_SEED, run_model
from taut.infer.autoguide.structure import Latent, Structure, feasible_value
from taut.targets.arguments import Arguments
from taut.targets.bijection import latent_bijection
from taut.targets.diagnosis import explain_sites
from taut.targets.site_log_prob import is_real, site_log_prob_inside


@dataclasses.dataclass(frozen=True)
class Placed:
    """The value of a latent site made from its unconstrained image.

    Attributes:
        value: the value, in the site's support.
        log_jacobian: log|det d value / d image|, one per event.
        support: the support the value was made for.
    """

    value: Any
    log_jacobian: Any
    support: Any


@dataclasses.dataclass(frozen=True)
class BoundModel:
    """A model, its arguments, and the structure they have.

    Attributes:
        model: a NumPyro model.
        arguments: its arguments; arrays may be tracers.
        structure: the latent sites the guide is laid out for.
    """

    model: Callable
    arguments: Arguments
    structure: Structure

    @property
    def traced(self) -> bool:
        """Whether some of the arguments are tracers."""
        return any(isinstance(leaf, Tracer) for leaf in self.arguments.leaves)

    def without_data(self) -> "BoundModel":
        """Return the same with the data left out, to be put back by `with_data`."""
        return dataclasses.replace(self, arguments=self.arguments.without_data())

    def with_data(self, leaves: Iterable[Any]) -> "BoundModel":
        """Return the same model bound to other data of the same shapes."""
        incoming = iter(leaves)
        pairs = zip(self.arguments.values, self.arguments.is_leaf, strict=True)
        values = tuple(next(incoming) if leaf else value for value, leaf in pairs)
        return dataclasses.replace(
            self, arguments=dataclasses.replace(self.arguments, values=values)
        )

    def place(
        self, parts: Mapping[str, Any], given: Mapping[str, Any] | None = None
    ) -> dict[str, Placed]:
        """Make the sites' values, in the model's order, from their unconstrained images.

        Args:
            parts: the unconstrained image of each site, in its latent shape.
            given: values of the model's params and indices of its subsampled plates.
        """
        latents = self.structure.latents
        if self.structure.supports_known:
            return {
                latent.name: _placed(latent, latent.support, parts[latent.name])
                for latent in latents
            }
        trace = self._run(parts, given)
        return {
            latent.name: _placed(latent, trace[latent.name]["fn"].support, parts[latent.name])
            for latent in latents
        }

    def values(
        self,
        parts: Mapping[str, Any],
        given: Mapping[str, Any] | None = None,
        whole: bool = False,
    ) -> dict[str, Any]:
        """Return the values of latent and deterministic sites.

        Args:
            parts: the unconstrained image of each site, in its latent shape.
            given: values of the model's params and indices of its subsampled plates.
            whole: whether subsampled plates are at their full size.
        """
        if self.structure.supports_known and not self.structure.deterministics:
            return {name: placed.value for name, placed in self.place(parts).items()}
        trace = self._run(parts, given, whole)
        names = [latent.name for latent in self.structure.latents]
        return {n: trace[n]["value"] for n in (*names, *self.structure.deterministics)}

    def deterministics(
        self,
        values: Mapping[str, Any],
        given: Mapping[str, Any] | None = None,
        whole: bool = False,
    ) -> dict[str, Any]:
        """Return the values of deterministic sites, given the values of latent ones.

        Args:
            values: the values of the latents, in the model's own coordinates.
            given: values of the model's params and indices of its subsampled plates.
            whole: whether subsampled plates are at their full size.
        """
        if not self.structure.deterministics:
            return {}
        args, kwargs = self._arrays()
        trace = run_model(
            self.model, args, kwargs, lambda m: values.get(m["name"]), given, whole=whole
        )
        return {name: trace[name]["value"] for name in self.structure.deterministics}

    def log_density(self, parts: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Any:
        """Log density of the latents' unconstrained images, Jacobian terms included; a scalar.

        A site in a subsampled plate stands for the whole plate, and so does its Jacobian.
        `handlers.scale` and `handlers.mask` change the density, not the change of variables.
        """
        trace = self._run(parts, given)
        total = jnp.zeros(())
        for site in trace.values():
            if site["type"] == "sample":
                total = total + jnp.sum(site_log_prob_inside(site))
        for latent in self.structure.latents:
            support = trace[latent.name]["fn"].support
            if not is_real(support):
                placed = _placed(latent, support, parts[latent.name])
                total = total + latent.weight * jnp.sum(placed.log_jacobian)
        return total

    def unconstrained(
        self, latent_value: Callable[[dict], Any], key: Any, given: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the unconstrained images of values chosen site by site.

        Args:
            latent_value: gives the value of a latent site from its message.
            key: for messages and for what the model samples itself.
            given: values of the model's params and indices of its subsampled plates.
        """
        args, kwargs = self._arrays()
        trace = run_model(self.model, args, kwargs, latent_value, given, key)
        parts = {}
        for latent in self.structure.latents:
            site = trace[latent.name]
            parts[latent.name] = latent.image(site["value"], site["fn"].support)
        return parts

    def support(
        self,
        latent: Latent,
        values: Mapping[str, Any],
        given: Mapping[str, Any] | None = None,
        whole: bool = False,
    ) -> Any:
        """Return the support of a site, given the values of those before it."""
        if latent.support is not None:
            return latent.support

        def value(message: dict) -> Any:
            known = values.get(message["name"])
            if known is not None:
                return known
            return feasible_value(message)

        args, kwargs = self._arrays()
        trace = run_model(self.model, args, kwargs, value, given, whole=whole)
        return trace[latent.name]["fn"].support

    def params(
        self, latent_value: Callable[[dict], Any] = feasible_value, key: Any = DEFAULT_SEED
    ) -> dict[str, tuple[Any, dict]]:
        """Return the model's own params: the value each starts from in a run, and its options.

        Args:
            latent_value: gives the value of a latent site from its message.
            key: for messages and for what the model samples itself.
        """
        if not self.structure.params:
            return {}
        args, kwargs = self._arrays()
        trace = run_model(self.model, args, kwargs, latent_value, key=key)
        return {n: (trace[n]["value"], trace[n]["kwargs"]) for n in self.structure.params}

    def explain(self, parts: Mapping[str, Any]) -> list[str]:
        """Say which sites have a log probability that is not finite at unconstrained images."""
        # Otherwise NumPyro stops at the first bad parameter, and only where it sees one.
        with numpyro.validation_enabled(False):
            return explain_sites(self._run(parts, None))

    def _run(
        self, parts: Mapping[str, Any], given: Mapping[str, Any] | None, whole: bool = False
    ) -> dict:
        def transport(message: dict) -> Any:
            part = parts.get(message["name"])
            if part is None:
                return None
            step = message["infer"].get("_scan_current_index")
            part = part if step is None else part[step]
            return latent_bijection(message["fn"].support)(part)

        args, kwargs = self._arrays()
        return run_model(self.model, args, kwargs, transport, given, whole=whole)

    def _arrays(self) -> tuple[tuple, dict]:
        # As in a compiled program: a NumPy array cannot be indexed by a tracer.
        return self.arguments.rebuild([jnp.asarray(leaf) for leaf in self.arguments.leaves])


def _placed(latent: Latent, support: Any, part: Any) -> Placed:
    bijection = latent_bijection(support)
    value = bijection(part)
    jacobian = bijection.log_abs_det_jacobian(part, value)
    extra = jnp.ndim(jacobian) - (jnp.ndim(value) - latent.event_dim)
    return Placed(value, sum_rightmost(jacobian, extra), support)
