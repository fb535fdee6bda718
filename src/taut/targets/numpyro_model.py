"""A NumPyro model as a log density on R^dim.

The run that discovers the sites is traced as the density too; a model with loops or params is run
again. Each latent value is made where the model samples it, by the bijection to the support found
there, so a support may depend on other latents. The logarithms of the Jacobians are added unscaled
and unmasked: `scale` and `mask` change the model's density, not the change of variables.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
from jax.extend.core import ClosedJaxpr
from numpyro import handlers
from numpyro.primitives import Messenger

from taut._core.errors import InputError
from taut._core.fingerprint import Watch
from taut._core.precision import native_dtype
from taut.targets.arguments import Arguments
from taut.targets.bijection import latent_bijection
from taut.targets.diagnosis import explain_sites
from taut.targets.indices import IndexCheck, index_remarks
from taut.targets.program import Program, Site
from taut.targets.site_log_prob import is_real, site_log_prob, site_log_prob_inside
from taut.targets.validation import ObservedCheck, no_log_prob


class ModelProgram(Program):
    """The program of a NumPyro model for arguments of one structure.

    Args:
        model: the user's function.
        arguments: its arguments; only their structure and static values are kept.
        sites: the latents, in the model's order.
        deterministics: names of the deterministic sites worth reporting.
        weights: what stands for params of networks whose weights are all drawn.
        notes: what the user should know about how the model was read.
        checks: what new data of observed sites must satisfy.
        indices: where data may lie outside what they index.
        watch: what notices changes in what the function reads.
        traced: what `Program.traced` returns, where the run that found the sites traced it.
    """

    def __init__(
        self,
        model: Callable,
        arguments: Arguments,
        sites: tuple[Site, ...],
        deterministics: tuple[str, ...],
        weights: dict[str, Any],
        notes: tuple[str, ...],
        checks: tuple[ObservedCheck, ...],
        indices: tuple[IndexCheck, ...],
        watch: Watch,
        traced: ClosedJaxpr | None,
    ):
        self.function = model
        self.arguments = arguments.without_data()
        self.sites = sites
        self.deterministics = deterministics
        self._weights = weights
        self.notes = notes
        self.checks = checks
        self.indices = indices
        self.watch = watch
        self._by_name = {site.name: site for site in sites}
        self._traced, self._changes = traced, watch.changes()

    def traced(self, leaves: Sequence[Any]) -> ClosedJaxpr:
        """Return the log density and the values of `value_names`, traced in JAX's own precision.

        As a function of a latent vector (dim,) and the data leaves. It holds copies of the arrays
        that the program reads.
        """
        # It is asked for once in each precision, and holds what the model reads.
        kept, self._traced = self._traced, None
        as_it_was = self.watch.changes() == self._changes
        if kept is not None and as_it_was and kept.in_avals[0].dtype == native_dtype():
            return kept
        return super().traced(leaves)

    def evaluate(self, leaves: Sequence[Any], z: Any) -> tuple[Any, dict[str, Any]]:
        """Log density and constrained values at one latent vector (dim,)."""
        jacobians: list[Any] = []
        trace = self._run(leaves, transport(self._take_from(z), jacobians))
        values = {name: trace[name]["value"] for name in self.value_names}
        return log_density_of(trace, jacobians, z.dtype), values

    def log_density(self, leaves: Sequence[Any], z: Any) -> Any:
        """Log density at one latent vector (dim,), Jacobian terms included; a scalar."""
        return self.evaluate(leaves, z)[0]

    def constrain(self, leaves: Sequence[Any], z: Any) -> dict[str, Any]:
        """Sites and deterministic values at one latent vector (dim,)."""
        trace = self._run(leaves, transport(self._take_from(z), []))
        return {name: trace[name]["value"] for name in self.value_names}

    def unconstrain(self, leaves: Sequence[Any], values: dict[str, Any]) -> tuple[Any, Any]:
        """Latent vector (dim,) of given site values, and log|det d values / d z|."""
        trace = self._run(leaves, lambda site: values.get(site["name"]))
        parts, total = [], 0.0
        for site in self.sites:
            bijection = latent_bijection(trace[site.name]["fn"].support)
            value = jnp.asarray(values[site.name])
            latent = bijection.inv(value)
            total = total + jnp.sum(bijection.log_abs_det_jacobian(latent, value))
            parts.append(jnp.reshape(latent, -1))
        return jnp.concatenate(parts), total

    def log_joint(self, leaves: Sequence[Any], values: dict[str, Any]) -> Any:
        """Log joint density in the model's own coordinates, without Jacobian terms."""
        trace = self._run(leaves, lambda site: values.get(site["name"]))
        parts = [jnp.sum(site_log_prob(s)) for s in trace.values() if s["type"] == "sample"]
        return sum(parts, start=jnp.zeros(()))

    def diagnose(self, leaves: Sequence[Any], z: np.ndarray) -> list[str]:
        """Say which sites have a log probability that is not finite at a latent vector."""
        # Otherwise NumPyro stops at the first bad parameter, and only where it sees one.
        with numpyro.validation_enabled(False):
            return explain_sites(self._run(leaves, transport(self._take_from(jnp.asarray(z)), [])))

    def remarks(self, names: Sequence[str], leaves: Sequence[Any]) -> list[str]:
        """Say which indices lie outside what they index."""
        return index_remarks(self.indices, names, leaves)

    def observed(self, leaves: Sequence[Any]) -> dict[str, Any]:
        """Return the data of observed sites that are arguments as they were given, by site."""
        return {check.site: np.asarray(check.data(leaves)) for check in self.checks}

    def _run(self, leaves: Sequence[Any], substitute: Callable[[dict], Any]) -> dict:
        args, kwargs = self.arguments.rebuild(leaves)
        model = handlers.substitute(self.function, substitute_fn=latents_only(substitute))
        model = handlers.substitute(model, data=self._weights)
        # Only a model that draws keys of its own uses this seed: no latent is ever sampled.
        model = handlers.seed(WholePlates(model), rng_seed=0)
        return handlers.trace(model).get_trace(*args, **kwargs)

    def _take_from(self, z: Any) -> Callable[[dict], Any]:
        def take(message: dict) -> Any:
            site = self._by_name.get(message["name"])
            return None if site is None else site.take(z)

        return take


def latents_only(substitute: Callable[[dict], Any]) -> Callable[[dict], Any]:
    """Return what gives values to latent sites, and to no others."""

    def choose(message: dict) -> Any:
        if message["type"] != "sample" or message["is_observed"]:
            return None
        return substitute(message)

    return choose


def transport(latent_of: Callable[[dict], Any], jacobians: list[Any]) -> Callable[[dict], Any]:
    """Return what makes the values of latent sites where a model samples them.

    Args:
        latent_of: returns the latent of a site, or None for a site whose value is not made here.
        jacobians: is given the logarithm of each change of variables' Jacobian.
    """

    def make(message: dict) -> Any:
        latent = latent_of(message)
        if latent is None:
            return None
        bijection = latent_bijection(message["fn"].support)
        step = message["infer"].get("_scan_current_index")
        inside_scan = step is not None
        if inside_scan:
            latent = latent[step]
        value = bijection(latent)
        if not is_real(message["fn"].support):
            jacobian = jnp.sum(bijection.log_abs_det_jacobian(latent, value))
            if inside_scan:  # the scan's body must hand its own terms out
                numpyro.factor(f"_{message['name']}_jacobian", jacobian)
            else:
                jacobians.append(jacobian)
        return value

    return make


def log_density_of(trace: Mapping[str, dict], jacobians: Sequence[Any], dtype: Any) -> Any:
    """Return the log density of a traced run whose latents came from a latent vector.

    Raises:
        InputError: a site's distribution cannot compute the log probability of its value.
    """
    total = sum(jacobians, start=jnp.zeros((), dtype))
    for site in trace.values():
        if site["type"] == "sample":
            try:
                total = total + jnp.sum(site_log_prob_inside(site))
            except Exception as error:
                raise InputError(no_log_prob(site, error)) from error
    return total


class WholePlates(Messenger):
    """Runs a model with every subsampled plate at its full size."""

    def process_message(self, msg: dict) -> None:
        """Replace a plate's random subsample by all of its indices."""
        if msg["type"] == "plate" and msg["value"] is None:
            size, _ = msg["args"]
            msg["args"] = (size, size)
            msg["taut_whole"] = True  # remembered in the trace, for the fit's notes
            msg["value"] = jnp.arange(size)
