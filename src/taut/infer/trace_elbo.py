"""The evidence lower bound, estimated from draws alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import handlers

from taut._core.errors import InputError
from taut.infer.objective import AverageELBO, Particle
from taut.infer.score import scores
from taut.infer.traces import (
    SCORE,
    Pair,
    gradient_path,
    is_latent,
    mutable_values,
    total_log_prob,
    with_density,
)
from taut.targets.site_log_prob import site_log_prob


class Trace_ELBO(AverageELBO):
    """Minus the evidence lower bound E_q[log p(x, z) - log q(z)], by Monte Carlo.

    Where the guide's distributions are smooth functions of noise the gradient is pathwise. Where
    they are not (mixtures, discrete ones) a score term is added, so it is right there too.

    Source: Ranganath, Gerrish, Blei, "Black box variational inference" (2014); Kingma and Welling,
    "Auto-encoding variational Bayes" (2014).

    Args:
        num_particles: draws of the guide per estimate.
        vectorize_particles: True computes them together, False one after another.
        multi_sample_guide: the guide itself draws several samples, along a leading axis of every
            site; the model is run on each, and their log densities are summed.
        sum_sites: False returns the loss as a dict by site, for looking at, not for fitting.
    """

    def __init__(
        self,
        num_particles: int = 1,
        vectorize_particles: bool | Callable[..., Any] = True,
        multi_sample_guide: bool = False,
        sum_sites: bool = True,
    ):
        super().__init__(num_particles, vectorize_particles)
        self.multi_sample_guide = multi_sample_guide
        self.sum_sites = sum_sites

    def _particle(self, key: Any, params: dict[str, Any], pair: Pair) -> Particle:
        if self.multi_sample_guide:
            model_parts, guide_trace = _many_samples(key, params, pair)
            mutable = mutable_values(guide_trace)
        else:
            model_trace, guide_trace, mutable = pair.draw(key, params)
            model_parts = log_probs(model_trace)
        parts = difference(model_parts, guide_log_probs(guide_trace))
        return assemble(parts, guide_trace, mutable, self.sum_sites)


def log_probs(trace: dict) -> dict[str, Any]:
    """Return the summed log probability of each sample site of a trace."""
    sites = trace.items()
    return {n: total_log_prob(site_log_prob(s)) for n, s in sites if s["type"] == "sample"}


def guide_log_probs(trace: dict) -> dict[str, Any]:
    """Return the same of a guide, without the gradient where it has mean zero and is only noise."""
    found = log_probs(trace)
    for name, site in trace.items():
        if is_latent(site) and gradient_path(site["fn"]) == SCORE:
            found[name] = jax.lax.stop_gradient(found[name])
    return found


def difference(model: dict[str, Any], guide: dict[str, Any]) -> dict[str, Any]:
    """Return log p - log q by site, in a fixed order."""
    names = [*model, *(n for n in guide if n not in model)]
    return {n: model.get(n, 0.0) - guide.get(n, jnp.zeros(())) for n in names}


def assemble(parts: dict[str, Any], guide_trace: dict, mutable: dict, sum_sites: bool) -> Particle:
    """Make a particle of its parts; every score is weighed by the whole."""
    total = sum(parts.values(), start=jnp.zeros(()))
    score = scores(guide_trace)
    cost = dict.fromkeys(score, total)
    return Particle(total if sum_sites else parts, score, cost, mutable or None)


def _many_samples(key: Any, params: dict[str, Any], pair: Pair) -> tuple[dict[str, Any], dict]:
    model_key, guide_key = jax.random.split(key)
    guide_trace = pair.run_guide(guide_key, params)
    drawn = {n: s for n, s in guide_trace.items() if s["type"] == "sample"}
    if not drawn:
        raise InputError("the guide has no sample sites; a multi-sample guide draws all of them")
    plates = {n: s["value"] for n, s in guide_trace.items() if s["type"] == "plate"}
    values = {
        n: s["value"]
        for n, s in guide_trace.items()
        if s["type"] == "deterministic" or (n in drawn and jnp.size(s["value"]) > 0)
    }
    params = {**params, **mutable_values(guide_trace)}

    seen: dict[str, dict] = {}

    def one(sample_key: Any, latents: dict[str, Any]) -> dict[str, Any]:
        fixed = handlers.substitute(pair.model, data={**params, **latents, **plates})
        seeded = handlers.seed(fixed, rng_seed=sample_key)
        seen.update(handlers.trace(seeded).get_trace(*pair.args, **pair.kwargs))
        return log_probs(seen)

    count = jnp.shape(next(iter(drawn.values()))["value"])[0]
    each = jax.vmap(one)(jax.random.split(model_key, count), values)

    def again(fixed: dict[str, Any]) -> dict:
        return pair.run_guide(guide_key, {**params, **fixed})

    guide_trace = with_density(guide_trace, seen, again)
    return {name: jnp.sum(value) for name, value in each.items()}, guide_trace
