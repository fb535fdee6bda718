"""One run of a model forwards: given latents are kept, all else is drawn anew.

Observed sites are drawn like any other, whether their data are an argument of the call or made
inside the model; factors stay what they are, since there is nothing to draw.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.primitives import Messenger

from taut.targets.numpyro_model import WholePlates
from taut.targets.site_log_prob import site_log_prob


def run_forwards(
    model: Callable, args: tuple, kwargs: dict, key: Any, given: Mapping[str, Any]
) -> dict[str, dict]:
    """Return the trace of one run with observed sites drawn anew and `given` latents kept."""
    model = handlers.substitute(_DrawObserved(WholePlates(model)), data=dict(given))
    return handlers.trace(handlers.seed(model, rng_seed=key)).get_trace(*args, **kwargs)


def run_on_data(
    model: Callable, args: tuple, kwargs: dict, given: Mapping[str, Any]
) -> dict[str, dict]:
    """Return the trace of one run with observed sites at their data and `given` latents kept."""
    model = handlers.substitute(WholePlates(model), data=dict(given))
    return handlers.trace(handlers.seed(model, rng_seed=jax.random.key(0))).get_trace(
        *args, **kwargs
    )


def drawn_values(trace: Mapping[str, dict], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a forward run made: sites that were not given, and deterministic values."""
    return {
        name: message["value"]
        for name, message in trace.items()
        if (is_drawable(message) and name not in given) or _is_deterministic(message)
    }


def log_likelihoods(trace: Mapping[str, dict]) -> dict[str, Any]:
    """Return the log likelihood of every observation, by site, without a plate's scale."""
    return {
        f"{name}": jnp.asarray(site_log_prob({**message, "scale": None}))
        for name, message in trace.items()
        if is_observed(message)
    }


def observed_values(trace: Mapping[str, dict]) -> dict[str, Any]:
    """Return the data of every observed site."""
    return {n: jnp.asarray(m["value"]) for n, m in trace.items() if is_observed(m)}


def is_drawable(message: dict) -> bool:
    """Whether a traced site is a sample with a distribution, and not a factor."""
    return message["type"] == "sample" and type(message["fn"]).__name__ != "Unit"


def is_observed(message: dict) -> bool:
    """Whether a traced site has data."""
    return is_drawable(message) and message["is_observed"]


def _is_deterministic(message: dict) -> bool:
    return message["type"] == "deterministic" and np.size(message["value"]) > 0


class _DrawObserved(Messenger):
    """Takes the data from observed sites, so that they are drawn."""

    def process_message(self, msg: dict) -> None:
        if msg["type"] == "control_flow":
            # The body of a scan runs out of sight of the handlers around it.
            body, *rest = msg["args"]
            msg["args"] = (_DrawObserved(body), *rest)
        elif is_drawable(msg) and msg["is_observed"] and not msg.get("_control_flow_done"):
            msg["fn"] = _as_wide_as(msg["fn"], np.shape(msg["value"]))
            msg["is_observed"] = False
            msg["value"] = None


def _as_wide_as(fn: Any, shape: tuple[int, ...]) -> Any:
    """Return a distribution for as many values as there are data.

    Outside a plate, one distribution may stand for all data; where the data have another shape
    altogether, as old data beside new covariates do, the distribution keeps its own.
    """
    batch = shape[: len(shape) - fn.event_dim]
    try:
        wider = np.broadcast_shapes(fn.batch_shape, batch) == batch != fn.batch_shape
    except ValueError:
        return fn
    return fn.expand(batch) if wider else fn
