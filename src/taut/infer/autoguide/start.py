"""Where a guide starts: a point at which the model's density is finite.

Points are tried until one will do, at most `MOST_TRIES` times. The keys are split as NumPyro splits
them, so a guide starts where NumPyro's guide of the same name starts from the same key.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax, random
from numpyro.infer.initialization import init_to_uniform

from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.structure import Structure

MOST_TRIES = 100


class Candidates:
    """Points to start from, by key.

    Args:
        init_loc_fn: one of NumPyro's initialisation strategies, or a function from a site's
            message to its value.
    """

    def __init__(self, init_loc_fn: Callable):
        partial = isinstance(init_loc_fn, functools.partial)
        self._strategy = init_loc_fn if partial else functools.partial(init_loc_fn)
        self.uniform = self._strategy.func is init_to_uniform and not self._strategy.args

    def draw(self, structure: Structure, key: Any) -> tuple[dict[str, Any], Any]:
        """Return uniform draws of the sites' unconstrained images, and the key to go on with."""
        radius = self._strategy.keywords.get("radius", 2)
        key, subkey = random.split(key)
        parts = {}
        for latent in structure.latents:
            shape = latent.latent_shape
            parts[latent.name] = random.uniform(subkey, shape, minval=-radius, maxval=radius)
            key, subkey = random.split(key)
        return parts, key

    def choose(self, bound: BoundModel, key: Any) -> tuple[dict[str, Any], Any]:
        """Return images of the values that the strategy gives, and the key to go on with."""
        key, subkey = random.split(key)
        return bound.unconstrained(lambda message: self._strategy(message), subkey), key

    def next(self, bound: BoundModel, key: Any) -> tuple[dict[str, Any], Any]:
        """Return the next point and the key to go on with."""
        return self.draw(bound.structure, key) if self.uniform else self.choose(bound, key)


def find_start(bound: BoundModel, candidates: Candidates, key: Any) -> dict[str, Any]:
    """Return a starting point inside a compiled function: the last tried if none will do."""

    def another(state: tuple) -> tuple:
        tries, key, _, _ = state
        parts, key = candidates.next(bound, key)
        return tries + 1, key, parts, jnp.isfinite(bound.log_density(parts))

    def go_on(state: tuple) -> Any:
        tries, _, _, good = state
        return (tries < MOST_TRIES) & ~good

    zeros = {latent.name: jnp.zeros(latent.latent_shape) for latent in bound.structure.latents}
    _, _, parts, _ = lax.while_loop(go_on, another, (0, key, zeros, jnp.array(False)))
    return parts
