"""Score terms: the gradient of the draws that the parameters do not reach smoothly.

If z is drawn from q and the cost f(z) is a number per draw, the gradient of the mean of f has,
beside the gradient of f itself, the part E[f grad log q(z)] (Williams 1992). For a mixture, the
probability of a component given the draw is averaged over instead of the component that was drawn
(Rao-Blackwell): grad log q becomes the mean of grad log weight, which vanishes for fixed weights.
With several particles the mean cost of the others is taken off each cost, which changes no mean and
lowers the variance (Kool, van Hoof, Welling 2019).
"""

from typing import Any

import jax
import jax.numpy as jnp

from taut.guides.pieces.choices import Counted
from taut.infer.traces import MIXTURE, gradient_path, is_latent, mixture_of, unscaled_log_prob


def scores(guide_trace: dict) -> dict[str, Any]:
    """Return, for each site that needs one, what to differentiate for its score: (batch...)."""
    found = {}
    for name, site in guide_trace.items():
        if not is_latent(site) or site["fn"].has_rsample:
            continue
        if isinstance(site["fn"], Counted):
            if site["fn"].score is not None:
                found[name] = site["fn"].score
                continue
            site = {**site, "fn": site["fn"].base_dist}
        if gradient_path(site["fn"]) == MIXTURE:
            found[name] = _weights_score(site)
        else:
            found[name] = unscaled_log_prob(site)
    return found


def _weights_score(site: dict) -> Any:
    mixture = mixture_of(site["fn"])
    value = jax.lax.stop_gradient(site["value"])
    responsibilities = jax.nn.softmax(mixture.component_log_probs(value), axis=-1)
    log_weights = jax.nn.log_softmax(mixture.mixing_distribution.logits)
    # A component of weight zero is never drawn; its log weight must not make 0 * inf.
    log_weights = jnp.where(jnp.isneginf(log_weights), 0.0, log_weights)
    return jnp.sum(jax.lax.stop_gradient(responsibilities) * log_weights, axis=-1)


def score_surrogate(score: dict[str, Any], cost: dict[str, Any]) -> Any:
    """Return a number whose value is zero and whose gradient is the score part of the mean cost's.

    Args:
        score: for each site (particles, batch...), from `scores`.
        cost: for each site (particles, ...), what to weigh its score by; it broadcasts.
    """
    total = jnp.zeros(())
    for name, log_q in score.items():
        weight = jax.lax.stop_gradient(relative_cost(cost[name]))
        particles = log_q.shape[0]
        spread = (1,) * (log_q.ndim - weight.ndim)
        weight = weight.reshape(weight.shape[:1] + spread + weight.shape[1:])
        total = total + jnp.sum(log_q * weight) / particles
    return total - jax.lax.stop_gradient(total)


def relative_cost(cost: Any) -> Any:
    """Take the mean of the other particles' costs off each particle's (particles, ...)."""
    particles = cost.shape[0]
    if particles == 1:
        return cost
    return (cost - jnp.mean(cost, axis=0)) * (particles / (particles - 1))
