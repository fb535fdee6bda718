"""A guide that leaves some sites out, completed by the model: they are drawn from their priors."""

from collections.abc import Callable
from typing import Any

from numpyro import handlers

from taut.targets.numpyro_model import WholePlates


def run_with_priors(
    guide: Callable, model: Callable, names: tuple[str, ...], /, *args: Any, **kwargs: Any
) -> None:
    """Run a guide, then the model at what it drew, for the named sites alone."""
    with handlers.trace() as drawn:
        guide(*args, **kwargs)
    values = {
        name: site["value"]
        for name, site in drawn.items()
        if site["type"] == "deterministic" or (site["type"] == "sample" and not site["is_observed"])
    }
    # Everything else of the model is hidden: it is no part of the guide.
    rest = handlers.substitute(WholePlates(model), data=values)
    with handlers.block(hide_fn=lambda site: site.get("name") not in names):
        rest(*args, **kwargs)
