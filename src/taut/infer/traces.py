"""One run of a guide, and of the model on the guide's draw.

A draw is a *trace*: NumPyro's record of every site a program visits. Gradients may flow through a
site's value to the parameters of its distribution only where that is right, which the site's
distribution decides:

- *pathwise*: the draw is a smooth function of parameters and noise;
- *mixture*: a mixture of such distributions. Within its component the draw is a smooth function,
  but the choice of the component is not; the weights need a score term;
- *score*: all else, discrete distributions included. No gradient passes the value.
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.distributions import MixtureGeneral, MixtureSameFamily
from numpyro.distributions.distribution import ExpandedDistribution, Independent
from numpyro.primitives import Messenger

from taut.guides.pieces.choices import Counted, sum_choices
from taut.infer.computed_sites import as_draws, with_jacobians
from taut.infer.pairing import check_observed, check_pair, warn_of_extra
from taut.targets.abstract_run import improper_value

PATHWISE, MIXTURE, SCORE = "pathwise", "mixture", "score"


def gradient_path(fn: Any) -> str:
    """Say how gradients pass a draw of a distribution: "pathwise", "mixture" or "score"."""
    if isinstance(fn, Counted) and fn.score is not None:
        return MIXTURE
    if fn.has_rsample:
        return PATHWISE
    base = mixture_of(fn)
    if isinstance(base, MixtureGeneral):
        parts = base.component_distributions
    elif isinstance(base, MixtureSameFamily):
        parts = [base.component_distribution]
    else:
        return SCORE
    return MIXTURE if all(part.has_rsample for part in parts) else SCORE


def mixture_of(fn: Any) -> Any:
    """Return the distribution inside those that only repeat it or regroup its axes."""
    while isinstance(fn, (Counted, ExpandedDistribution, Independent)):
        fn = fn.base_dist
    return fn


class _GradientPaths(Messenger):
    """Holds the gradient back at the values of sites that are not smooth in their parameters."""

    def postprocess_message(self, msg: dict) -> None:
        if is_latent(msg) and gradient_path(msg["fn"]) == SCORE:
            msg["value"] = jax.lax.stop_gradient(msg["value"])
            # What was kept of the sampling would carry the gradient past the stop.
            msg["intermediates"] = []


def is_latent(site: dict) -> bool:
    """Whether a message is a sample site without data."""
    return site["type"] == "sample" and not site["is_observed"]


def run_guide(guide: Callable, key: Any, params: dict, args: tuple, kwargs: dict) -> dict:
    """Draw from a guide: its trace with these parameters."""
    program = handlers.substitute(handlers.seed(guide, rng_seed=key), data=params)
    with _GradientPaths():
        return handlers.trace(program).get_trace(*args, **kwargs)


def run_model(
    model: Callable, key: Any, guide_trace: dict, params: dict, args: tuple, kwargs: dict
) -> dict:
    """Run a model on a guide's draw: its trace, checked against the guide's.

    Raises:
        InputError: a latent of the model that the guide does not draw, or of another shape.
    """
    guide_trace = as_draws(guide_trace)
    replayed = handlers.replay(handlers.seed(model, rng_seed=key), trace=OrderedDict(guide_trace))

    def forgotten(site: dict) -> Any:
        # An improper site without a draw must get as far as the check that says so.
        return None if site["name"] in guide_trace else improper_value(site)

    whole = handlers.substitute(replayed, substitute_fn=forgotten)
    program = handlers.substitute(whole, data=params)
    recorder = handlers.trace(program)
    try:
        trace = recorder.get_trace(*args, **kwargs)
    except Exception:
        # A wrong shape from the guide may have broken the model further on: say that instead.
        check_pair(recorder.trace, guide_trace)
        check_observed(guide_trace, recorder.trace)
        raise
    check_pair(trace, guide_trace)
    return trace


@dataclasses.dataclass(frozen=True)
class Pair:
    """A model and a guide, with the arguments that both are called with."""

    model: Callable
    guide: Callable
    args: tuple
    kwargs: dict[str, Any]

    def run_guide(self, key: Any, params: dict) -> dict:
        """Run the guide by itself and return its trace, as `run_guide` does."""
        return run_guide(self.guide, key, params, self.args, self.kwargs)

    def draw(self, key: Any, params: dict) -> tuple[dict, dict, dict]:
        """Draw from the guide and run the model on it.

        Returns:
            The model's trace; the guide's, with the Jacobians of what it computes and its discrete
            auxiliaries summed out; and the new values of mutable sites.

        Raises:
            InputError: the guide does not draw what the model has, or computes sites that have no
                density.
        """
        model_key, guide_key = jax.random.split(key)
        guide_trace = self.run_guide(guide_key, params)
        mutable = mutable_values(guide_trace)
        params = {**params, **mutable}
        model_trace = run_model(self.model, model_key, guide_trace, params, self.args, self.kwargs)

        def again(values: dict) -> dict:
            return self.run_guide(guide_key, {**params, **values})

        guide_trace = with_density(guide_trace, model_trace, again)
        warn_of_extra(model_trace, guide_trace)
        return model_trace, guide_trace, {**mutable, **mutable_values(model_trace)}


def with_density(guide_trace: dict, model_trace: dict, again: Callable[[dict], dict]) -> dict:
    """Return a guide's trace with all of its density: Jacobians put in, choices summed out.

    Args:
        guide_trace: one run of the guide.
        model_trace: the model's run on it.
        again: runs the guide once more with given values of its drawn sites; returns the trace.

    Raises:
        InputError: the guide computes sites that have no density.
    """
    guide_trace = with_jacobians(guide_trace, model_trace, again)
    latents = [n for n, site in model_trace.items() if is_latent(site)]
    return sum_choices(guide_trace, latents, again)[0]


def mutable_values(trace: dict) -> dict:
    """Return what a run left at its `numpyro.mutable` sites."""
    return {n: site["value"] for n, site in trace.items() if site["type"] == "mutable"}


def unscaled_log_prob(site: dict) -> Any:
    """Log probability of a site's value as it was drawn, whatever weight its plate gives it."""
    if site["intermediates"]:
        return site["fn"].log_prob(site["value"], site["intermediates"])
    return site["fn"].log_prob(site["value"])


def total_log_prob(log_prob: Any) -> Any:
    """Sum a site's log probabilities, at least in floating point."""
    return jnp.sum(jnp.asarray(log_prob, dtype=jnp.result_type(log_prob, jnp.float32)))
