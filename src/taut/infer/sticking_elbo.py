"""The evidence lower bound for fitting a guide function to the end: less noise near the optimum.

The gradient of log q with respect to its own parameters has mean zero. Left out ("sticking the
landing"), what remains goes to zero as q approaches the posterior, so that an exact guide is found
without error however few draws are used. It needs log q as a function of the value drawn, with the
parameters held; where a guide computes a site by a map that has parameters itself, that is not to
be had, and the whole gradient is taken. So it is where the support of a drawn site moves with a
parameter: draws come in over its bound, and what is left out does not have mean zero.

Source: Roeder, Wu, Duvenaud, "Sticking the landing" (2017).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from taut._core.dependence import dependence
from taut.guides.pieces.point import point_of
from taut.infer.objective import AverageELBO, Particle
from taut.infer.score import scores
from taut.infer.trace_elbo import guide_log_probs, log_probs
from taut.infer.traces import Pair, is_latent


class StickingELBO(AverageELBO):
    """Minus the evidence lower bound, with the gradient that vanishes at an exact guide.

    Args:
        num_particles: draws of the guide per estimate.
    """

    def _particle(self, key: Any, params: dict[str, Any], pair: Pair) -> Particle:
        model_trace, guide_trace, _ = pair.draw(key, params)
        log_q = _sum(guide_log_probs(guide_trace))
        values = {n: s["value"] for n, s in guide_trace.items() if _drawn(s)}

        def held(params: dict, values: dict) -> tuple[Any, list]:
            """Return log q, and what must not depend on params: computed sites and supports."""
            fixed = pair.draw(key, {**params, **values})[1]
            latent = {n: s for n, s in fixed.items() if is_latent(s)}
            made = [s["value"] for n, s in latent.items() if n in model_trace and not _drawn(s)]
            bounds = jax.tree.leaves([s["fn"].support for s in latent.values() if _drawn(s)])
            return _sum(log_probs(fixed)), [*made, *bounds]

        if _only_draws_move(held, params, values):
            log_q = held(jax.lax.stop_gradient(params), values)[0]
        elbo = _sum(log_probs(model_trace)) - log_q
        score = scores(guide_trace)
        return Particle(elbo, score, dict.fromkeys(score, elbo), None)


def _only_draws_move(held: Callable, params: dict, values: dict) -> bool:
    """Whether no computed site or support depends on a parameter but through what is drawn."""
    closed = jax.make_jaxpr(lambda p: held(p, values)[1])(params)
    return not any(dependence(closed))


def _drawn(site: dict) -> bool:
    return is_latent(site) and point_of(site["fn"]) is None


def _sum(log_probs: dict[str, Any]) -> Any:
    return sum(log_probs.values(), start=jnp.zeros(()))
