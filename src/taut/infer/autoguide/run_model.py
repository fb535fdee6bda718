"""A model run inside a guide, hidden from the handlers around the guide."""

from collections.abc import Callable, Mapping
from typing import Any

from numpyro import handlers

from taut.targets.numpyro_model import WholePlates

# Given to models that draw keys of their own, or predict sites that have no value.
DEFAULT_SEED = 0


def run_model(
    model: Callable,
    args: tuple,
    kwargs: dict,
    latent_value: Callable[[dict], Any],
    given: Mapping[str, Any] | None = None,
    key: Any = DEFAULT_SEED,
    whole: bool = False,
) -> dict:
    """Run a model and return its trace.

    Args:
        model: a NumPyro model.
        args: its positional arguments.
        kwargs: its keyword arguments.
        latent_value: gives the value of a latent site from its message, or None to sample it.
        given: values of other sites: the model's params, and indices of subsampled plates.
        key: for what the model samples itself.
        whole: whether to run subsampled plates at their full size.
    """

    def choose(message: dict) -> Any:
        if message["type"] == "sample":
            return None if message["is_observed"] else latent_value(message)
        return given.get(message["name"]) if given else None

    with handlers.block():
        seeded = handlers.seed(WholePlates(model) if whole else model, rng_seed=key)
        chosen = handlers.substitute(seeded, substitute_fn=choose)
        return handlers.trace(chosen).get_trace(*args, **kwargs)
