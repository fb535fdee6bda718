"""The evidence lower bound with closed-form divergences where they are known."""

import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from numpyro.distributions import kl_divergence

from taut.infer.objective import AverageELBO, Particle
from taut.infer.trace_elbo import assemble, difference, guide_log_probs, log_probs
from taut.infer.traces import Pair, is_latent


class TraceMeanField_ELBO(AverageELBO):
    """Minus the evidence lower bound, with KL(q || p) of a site in closed form where it is known.

    Right only if, for every latent, its parents in the model are no descendants of it in the guide;
    a guide with the structure of the model, or with independent sites, satisfies that.

    Args:
        num_particles: draws of the guide per estimate.
        vectorize_particles: True computes them together, False one after another.
        sum_sites: False returns the loss as a dict by site, for looking at, not for fitting.
    """

    def __init__(
        self,
        num_particles: int = 1,
        vectorize_particles: bool | Callable[..., Any] = True,
        sum_sites: bool = True,
    ):
        super().__init__(num_particles, vectorize_particles)
        self.sum_sites = sum_sites

    def _particle(self, key: Any, params: dict[str, Any], pair: Pair) -> Particle:
        model_trace, guide_trace, mutable = pair.draw(key, params)
        _check_order(model_trace, guide_trace)
        model_parts, guide_parts = log_probs(model_trace), guide_log_probs(guide_trace)
        for name, site in model_trace.items():
            if is_latent(site):
                divergence = _divergence(guide_trace[name], site)
                if divergence is not None:
                    model_parts[name], guide_parts[name] = jnp.zeros(()), divergence
        return assemble(difference(model_parts, guide_parts), guide_trace, mutable, self.sum_sites)


def _divergence(guide_site: dict, model_site: dict) -> Any:
    try:
        divergence = kl_divergence(guide_site["fn"], model_site["fn"])
    except NotImplementedError:
        return None
    # A site may repeat its distribution (sample_shape=), which the divergence does not know of.
    value, event_dim = guide_site["value"], guide_site["fn"].event_dim
    batch = jnp.shape(value)[: jnp.ndim(value) - event_dim]
    divergence = jnp.broadcast_to(divergence, jnp.broadcast_shapes(jnp.shape(divergence), batch))
    scale = guide_site["scale"]
    return jnp.sum(divergence if scale is None else scale * divergence)


def _check_order(model_trace: dict, guide_trace: dict) -> None:
    # The same order is enough for the condition to hold, and all that a trace can show.
    in_model = [n for n, s in model_trace.items() if is_latent(s)]
    in_guide = [n for n, s in guide_trace.items() if is_latent(s) and n in model_trace]
    if in_model != in_guide:
        warnings.warn(
            "cannot see that the guide is mean-field, because its sites come in another order "
            f"than the model's: {in_guide} and {in_model}. Bring them into one order, or use "
            "Trace_ELBO",
            stacklevel=2,
        )
