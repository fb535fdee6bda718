"""Where a guide starts: a point at which the model's density is finite.

Points are tried until one will do, at most `MOST_TRIES` times. The keys are split as NumPyro splits
them, so a guide starts where NumPyro's guide of the same name starts from the same key.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax, random
from numpyro.infer.initialization import init_to_uniform, init_to_value

from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.structure import Latent, Structure

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
        self._values = self._strategy.keywords.get("values", {})

    def uniform(self, structure: Structure) -> bool:
        """Whether sites without a given value are drawn without running the model."""
        if self._strategy.args:
            return False
        func = self._strategy.func
        return func is init_to_uniform or (func is init_to_value and structure.needs_no_run)

    def draw(self, structure: Structure, key: Any) -> tuple[dict[str, Any], Any]:
        """Return uniform draws of the sites' unconstrained images, and the key to go on with."""
        radius = self._strategy.keywords.get("radius", 2)
        key, subkey = random.split(key)
        parts = {}
        for latent in structure.latents:
            shape = latent.latent_shape
            if latent.name in self._values:
                parts[latent.name] = latent.image(self._values[latent.name], latent.support)
                continue
            parts[latent.name] = random.uniform(subkey, shape, minval=-radius, maxval=radius)
            key, subkey = random.split(key)
        return parts, key

    def params(self, bound: BoundModel, key: Any) -> dict[str, Any]:
        """Return the model's own params as a first run makes them: keys they take are taken once.

        Args:
            bound: the model.
            key: the one that the search begins with.
        """
        params = bound.params(lambda message: self._strategy(message), key)
        return {name: value for name, (value, _) in params.items()}

    def choose(self, bound: BoundModel, key: Any, given: dict[str, Any]) -> tuple[dict, Any]:
        """Return images of the values that the strategy gives, and the key to go on with."""
        key, subkey = random.split(key)
        return bound.unconstrained(lambda message: self._strategy(message), subkey, given), key


def find_start(bound: BoundModel, candidates: Candidates, key: Any) -> dict[str, Any]:
    """Return a starting point inside a compiled function: the last tried if none will do."""
    draws = candidates.uniform(bound.structure)
    given = {} if draws else candidates.params(bound, key)

    def another(state: tuple) -> tuple:
        tries, key, _, _ = state
        if draws:
            parts, key = candidates.draw(bound.structure, key)
        else:
            parts, key = candidates.choose(bound, key, given)
        return tries + 1, key, parts, jnp.isfinite(bound.log_density(parts, given))

    def go_on(state: tuple) -> Any:
        tries, _, _, good = state
        return (tries < MOST_TRIES) & ~good

    zeros = {latent.name: jnp.zeros(latent.latent_shape) for latent in bound.structure.latents}
    _, _, parts, _ = lax.while_loop(go_on, another, (0, key, zeros, jnp.array(False)))
    return parts


class Start:
    """The starting point of one call of a guide, found when a param is first made.

    Args:
        find: makes the sites' unconstrained images, given a key.
        structure: the sites.
    """

    def __init__(self, find: Callable[[Any], dict[str, Any]], structure: Structure):
        self._find = find
        self._structure = structure
        self._parts: dict[str, Any] | None = None

    def parts(self, key: Any) -> dict[str, Any]:
        """Return the sites' unconstrained images."""
        if self._parts is None:
            self._parts = self._find(key)
        return self._parts

    def full_part(self, latent: Latent, key: Any) -> Any:
        """Return a site's unconstrained image, repeated to fill subsampled plates."""
        part = self.parts(key)[latent.name]
        for axis, (used, full) in enumerate(
            zip(latent.latent_shape, latent.full_latent_shape, strict=True)
        ):
            if used != full:
                part = jnp.take(part, jnp.arange(full) // -(-full // used), axis=axis)
        return part

    def of_site(self, latent: Latent) -> Any:
        """Return what a site's param starts from: only the first of them takes a key."""
        if self._parts is None:
            return lambda key: self.full_part(latent, key)
        return self.full_part(latent, None)

    def vector(self, key: Any) -> Any:
        """Return the latent vector (dim,)."""
        return self._structure.join(self.parts(key))
