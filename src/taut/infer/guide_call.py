"""A user's guide function beside its model, on the latent space of a target."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers
from numpyro.infer.autoguide import AutoGuide as NumPyroAutoGuide

from taut._core.constants import own_constants
from taut._core.run_once import run_once
from taut.guides.pieces.choices import sum_choices, summed
from taut.guides.pieces.point import point_of
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.params import Opaque, ParamSite, constrain, initial_value, read_param
from taut.infer.trace_elbo import log_probs
from taut.infer.traces import Pair, is_latent, run_guide
from taut.predictive.calls import bound_call
from taut.targets.numpyro_model import WholePlates
from taut.targets.target import Target


@dataclasses.dataclass(frozen=True)
class GuideParams:
    """The parameters of a guide.

    Attributes:
        first: from a seed to their first values, unconstrained; random ones come from the seed.
        values: from unconstrained values to those in their constraints.
    """

    first: Callable[[int], dict[str, Any]]
    values: Callable[[dict[str, Any]], dict[str, Any]]


class GuideCall:
    """A model and a guide with the arguments both are called with, minibatches whole.

    Args:
        target: the model with its data.
        guide: the user's function.
    """

    def __init__(self, target: Target, guide: Callable):
        self.target = target
        model, arguments = bound_call(target)
        leaves = [jnp.asarray(leaf) for leaf in target.data]
        self.args, self.kwargs = arguments.rebuild(leaves)
        self.given_model, self.given_guide = model, guide
        self.model, self.guide = WholePlates(model), WholePlates(guide)
        if isinstance(guide, AutoGuide):
            guide.setup(*self.args, **self.kwargs)
        elif isinstance(guide, NumPyroAutoGuide) and guide.prototype_trace is None:
            # It keeps what it learns in its first call, which must not be under a trace.
            handlers.seed(self.guide, rng_seed=0)(*self.args, **self.kwargs)

    def pair(self, key: Any, params: dict[str, Any]) -> tuple[dict, dict]:
        """Draw from the guide and run the model on it; return the model's trace, the guide's."""
        found = Pair(self.model, self.guide, self.args, self.kwargs).draw(key, params)
        return found[0], found[1]

    def latent(self, values: dict[str, Any]) -> tuple[Any, Any]:
        """Latent vector of named values, and log|det d values / d z|."""
        shaped = {
            site.name: jnp.broadcast_to(values[site.name], site.shape)
            for site in self.target.program.sites
        }
        return self.target.unconstrain(shaped)

    def latent_of(self, guide_trace: dict) -> tuple[Any, Any]:
        """Latent vector of what a guide drew, and log|det d values / d z|."""
        names = (site.name for site in self.target.program.sites)
        return self.latent({name: guide_trace[name]["value"] for name in names})

    def draws_all(self, guide_trace: dict) -> bool:
        """Whether a guide drew every site of the model, and nothing else is left to sum out."""
        drawn = {n for n, s in guide_trace.items() if is_latent(s) and not point_of(s["fn"])}
        sites = {site.name for site in self.target.program.sites}
        return sites == {n for n in drawn if not summed(guide_trace[n])}

    def log_prob(self, z: Any, params: dict[str, Any]) -> Any:
        """Log density at a latent vector."""
        values = self.target.constrain(z)
        named = {site.name: values[site.name] for site in self.target.program.sites}
        return self.stated(named, params) + self.latent(named)[1]

    def stated(self, values: dict[str, Any], params: dict[str, Any]) -> Any:
        """What the guide adds up at given values of its sites: log densities and factors."""

        def run(more: dict[str, Any]) -> dict:
            given = {**params, **values, **more}
            return run_guide(self.guide, jax.random.key(0), given, self.args, self.kwargs)

        trace, _ = sum_choices(run({}), list(values), run)
        return sum(log_probs(trace).values(), jnp.zeros(()))

    def read_params(self, dtype: np.dtype) -> GuideParams:
        """Read the guide's parameters; values are made in `dtype`."""
        found: list[tuple[ParamSite, ...]] = []

        def first(key: Any, one: Any) -> dict[str, Any]:
            seeded = handlers.seed(Opaque(self.guide, one), rng_seed=key)
            with numpyro.validation_enabled(False):
                trace = handlers.trace(seeded).get_trace(*self.args, **self.kwargs)
            params = [site for site in trace.values() if site["type"] == "param"]
            found.append(tuple(map(read_param, params)))
            start = {site["name"]: initial_value(site) for site in params}
            return jax.tree.map(lambda value: jnp.asarray(value, dtype), start)

        compiled = run_once(own_constants(first))

        def start(seed: int) -> dict[str, Any]:
            return compiled(jax.random.key(seed), np.ones((), np.float32))

        start(0)

        def values(raw: dict[str, Any]) -> dict[str, Any]:
            return constrain(found[0], raw, self.model, self.guide, self.args, self.kwargs)

        return GuideParams(start, values)
