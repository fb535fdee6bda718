"""Rényi's bound, of which the importance-weighted one is a special case."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import handlers

from taut._core.errors import InputError
from taut._core.modules import module
from taut.infer.objective import ELBO
from taut.infer.score import scores
from taut.infer.traces import Pair
from taut.targets.site_log_prob import site_log_prob

_ONLY_PLATES = ["sample", "prng_key", "control_flow"]


@module()
class _Draw:
    """One draw's log weight and scores, by row of the plates around the whole program."""

    log_weight: Any
    score: dict[str, Any]
    scale: Any


class RenyiELBO(ELBO):
    """Minus Rényi's bound (1 / (1 - alpha)) log mean_i exp((1 - alpha) (log p - log q)_i).

    alpha = 0 is the importance-weighted bound. Rows of plates that enclose all sites are bounded
    each on its own, and the bounds added.

    Source: Li and Turner, "Rényi divergence variational inference" (2016); Burda, Grosse,
    Salakhutdinov, "Importance weighted autoencoders" (2016). Score terms: Mnih and Rezende,
    "Variational inference for Monte Carlo objectives" (2016).

    Args:
        alpha: the order, not 1.
        num_particles: draws of the guide per estimate.
    """

    def __init__(self, alpha: float = 0, num_particles: int = 2):
        if alpha == 1:
            raise InputError("alpha must not be 1: that is the limit which Trace_ELBO computes")
        super().__init__(num_particles)
        self.alpha = alpha

    def loss(
        self,
        rng_key: Any,
        param_map: dict[str, Any],
        model: Callable,
        guide: Callable,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Estimate minus the bound; a scalar. Arguments are those of every objective's `loss`."""
        plate_key, rng_key = jax.random.split(rng_key)
        # All particles, model and guide see the same rows.
        model = handlers.seed(model, rng_seed=plate_key, hide_types=_ONLY_PLATES)
        guide = handlers.seed(guide, rng_seed=plate_key, hide_types=_ONLY_PLATES)

        pair = Pair(model, guide, args, kwargs)

        def draw(key: Any) -> _Draw:
            return _draw(key, param_map, pair)

        keys = jax.random.split(rng_key, self.num_particles)
        many = self._map_particles(draw, keys)
        order, rows = 1.0 - self.alpha, many.log_weight
        scaled = order * rows
        mean = jax.nn.logsumexp(scaled, axis=0) - math.log(self.num_particles)
        weights = jax.lax.stop_gradient(jnp.exp(scaled - mean))
        weighted = jnp.mean(weights * rows, axis=0)
        bound = jax.lax.stop_gradient(mean / order - weighted) + weighted
        scale = many.scale[0]
        total = jnp.sum(bound) * scale
        if many.score:
            gain = jax.lax.stop_gradient(mean - _without_each(scaled)) / order
            surrogate = sum(jnp.sum(score * gain) for score in many.score.values()) * scale
            total = total + surrogate - jax.lax.stop_gradient(surrogate)
        return -total


def _draw(key: Any, params: dict[str, Any], pair: Pair) -> _Draw:
    model_trace, guide_trace, _ = pair.draw(key, params)
    common = _common_plates(model_trace, guide_trace)
    scale = 1.0
    for frame in common.values():
        scale *= model_trace[frame.name]["args"][0] / frame.size
    dims = {frame.dim for frame in common.values()}
    total = jnp.zeros(())
    for sign, trace in ((1.0, model_trace), (-1.0, guide_trace)):
        for site in trace.values():
            if site["type"] == "sample":
                total = total + sign * _rows(site_log_prob(site), dims)
    score = {name: _rows(log_q, dims) for name, log_q in scores(guide_trace).items()}
    return _Draw(total / scale, score, jnp.asarray(scale))


def _common_plates(model_trace: dict, guide_trace: dict) -> dict[str, Any]:
    """Return the plates that enclose every site, by name."""
    sites = [s for t in (model_trace, guide_trace) for s in t.values() if s["type"] == "sample"]
    stacks = [{frame.name: frame for frame in site["cond_indep_stack"]} for site in sites]
    common = [name for name in stacks[0] if all(name in stack for stack in stacks)]
    for stack in stacks:
        for name, frame in stack.items():
            if name not in common and model_trace[name]["args"][0] > frame.size:
                raise InputError(
                    f"plate {name!r} is subsampled but does not enclose every site of model and "
                    "guide; RenyiELBO can subsample only a plate around the whole program"
                )
    return {name: stacks[0][name] for name in common}


def _rows(log_prob: Any, dims: set[int]) -> Any:
    """Sum over all axes but those of the common plates."""
    log_prob = jnp.asarray(log_prob)
    axes = tuple(a for a in range(log_prob.ndim) if a - log_prob.ndim not in dims)
    return jnp.sum(log_prob, axis=axes)


def _without_each(scaled: Any) -> Any:
    """Return log mean exp of all particles but one, for each one."""
    particles = scaled.shape[0]
    if particles == 1:
        return jnp.zeros_like(scaled)
    left_out: Any = jnp.where(
        jnp.eye(particles, dtype=bool).reshape((particles, particles) + (1,) * (scaled.ndim - 1)),
        -jnp.inf,
        scaled[None],
    )
    return jax.nn.logsumexp(left_out, axis=1) - math.log(particles - 1)
