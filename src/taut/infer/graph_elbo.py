"""The evidence lower bound with score terms of low variance."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import handlers

from taut._core.dependence import dependence
from taut.guides.pieces.choices import summed
from taut.infer.objective import AverageELBO, Particle
from taut.infer.trace_elbo import assemble, difference, guide_log_probs, log_probs
from taut.infer.traces import Pair
from taut.targets.site_log_prob import site_log_prob


class TraceGraph_ELBO(AverageELBO):
    """Minus the evidence lower bound; scores are weighed only by what their draw can influence.

    For guides with sites that are not smooth in their parameters. A term of the bound counts for
    such a site only if it depends on the site's draw, and inside plates row by row, which leaves
    the mean of the gradient as it is and lowers its variance. For all other guides this is
    `Trace_ELBO`.

    Source: Schulman, Heess, Weber, Abbeel, "Gradient estimation using stochastic computation
    graphs" (2015).

    Args:
        num_particles: draws of the guide per estimate; with several, each one's cost is taken
            relative to the mean of the others.
        vectorize_particles: True computes them together, False one after another.
    """

    def _particle(self, key: Any, params: dict[str, Any], pair: Pair) -> Particle:
        model_trace, guide_trace, mutable = pair.draw(key, params)
        parts = difference(log_probs(model_trace), guide_log_probs(guide_trace))
        particle = assemble(parts, guide_trace, mutable, True)
        score = particle.score
        if not score or sum(map(summed, guide_trace.values())) > 1:
            return particle  # choices summed together share one score, weighed by the whole

        def terms(values: dict[str, Any]) -> dict[str, Any]:
            fixed = handlers.substitute(pair.guide, data=values)
            replayed, drawn, _ = dataclasses.replace(pair, guide=fixed).draw(key, params)
            return {**_named("guide ", drawn), **_named("model ", replayed)}

        upstream = _upstream(terms, {name: guide_trace[name]["value"] for name in score})
        cost: dict[str, Any] = defaultdict(lambda: jnp.zeros(()))
        for label, sign, trace in (("guide ", -1.0, guide_trace), ("model ", 1.0, model_trace)):
            for name, site in trace.items():
                if site["type"] != "sample":
                    continue
                for source in upstream[label + name]:
                    reduced = _shared_rows(site, guide_trace[source])
                    cost[source] = cost[source] + sign * reduced
        return Particle(particle.elbo, score, {n: cost[n] for n in score}, particle.mutable)


def _named(label: str, trace: dict) -> dict[str, Any]:
    sites = trace.items()
    return {label + n: site_log_prob(s) for n, s in sites if s["type"] == "sample"}


def _upstream(terms: Callable[[dict], dict], values: dict) -> dict[str, frozenset[str]]:
    """Say which of the draws each term depends on, directly or by way of another of them."""
    closed, shapes = jax.make_jaxpr(terms, return_shape=True)(values)
    sites = sorted(values)  # the order in which JAX flattens a dict
    found = [frozenset(sites[i] for i in inputs) for inputs in dependence(closed)]
    direct = dict(zip(sorted(shapes), found, strict=True))
    reach = {name: direct["guide " + name] for name in sites}
    for middle in sites:
        for name in sites:
            if middle in reach[name]:
                reach[name] |= reach[middle]
    return {
        term: inputs.union(*(reach[name] for name in inputs)) for term, inputs in direct.items()
    }


def _shared_rows(term: dict, source: dict) -> Any:
    """Sum a term's log probabilities over all axes but those of plates it shares with a site."""
    log_prob = site_log_prob(term)
    shared = {frame.name for frame in source["cond_indep_stack"]}
    kept = {frame.dim for frame in term["cond_indep_stack"] if frame.name in shared}
    axes = tuple(axis for axis in range(log_prob.ndim) if axis - log_prob.ndim not in kept)
    reduced = jnp.sum(log_prob, axis=axes, keepdims=True)
    depth = max((-dim for dim in kept if -dim <= log_prob.ndim), default=0)
    return reduced.reshape(reduced.shape[reduced.ndim - depth :])
