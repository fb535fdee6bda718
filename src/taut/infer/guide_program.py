"""The compiled functions of a guide function on one target, made once and kept for further seeds.

The data are constants of them: the guide may ask for their values, and is compiled anew for others.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.constants import own_constants
from taut._core.fingerprint import Watch
from taut._core.precision import precision_of
from taut._core.xla_options import OFTEN, OFTEN_AND_SHORT, cpu_options
from taut.infer.guide_call import GuideCall
from taut.infer.sticking_elbo import StickingELBO
from taut.infer.trace_elbo import log_probs
from taut.loop.adam import adam_block
from taut.targets.target import Target

PARTICLES = 64
"""Draws of the guide a step."""

JUDGED = 1024
"""Draws by which two sets of parameters are compared."""

DRAWN = 4096
"""Draws of one compiled call."""


class GuideProgram:
    """A guide function and its model as functions of unconstrained parameters.

    Args:
        target: the model with its data.
        guide: the user's function.
        dtype: the floating type that both run in.
        watch: notices changes in what they read.
    """

    def __init__(self, target: Target, guide: Callable, dtype: np.dtype, watch: Watch):
        self.target, self.dtype, self._watch = target, dtype, watch
        with self.precision():
            self.call = GuideCall(target, guide)
            self._params = self.call.read_params(0, dtype).values
        self.block = self._jitted(functools.partial(adam_block, self._loss), OFTEN)
        self.weights = self._jitted(self._weights)
        self._draws = self._jitted(jax.vmap(self._draw, (0, None)))
        self._densities = self._jitted(jax.vmap(self._log_prob, (0, None)))

    def precision(self) -> Any:
        """Return the context in which it computes."""
        return precision_of(self.dtype)

    def start(self, seed: int) -> dict[str, Any]:
        """Return the first values of the parameters; random ones come from the seed."""
        with self.precision():
            return self.call.read_params(seed, self.dtype).start

    def params(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return parameters in their constraints."""
        with self.precision():
            return jax.tree.map(np.asarray, self._params(raw))

    def draw(self, raw: dict[str, Any], seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return latent draws (count, dim) and their log densities (count,)."""
        parts = []
        with self.precision():
            for key in jax.random.split(jax.random.key(seed), -(-count // DRAWN)):
                found = self._draws(jax.random.split(key, DRAWN), raw)
                parts.append([np.asarray(array, float) for array in found])
        z, log_q = (np.concatenate(part)[:count] for part in zip(*parts, strict=True))
        return z, log_q

    def density(self, raw: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return log densities of latent vectors as a function; None if they are not known."""
        with self.precision():
            if not self.call.knows_density(self._params(raw)):
                return None

        def density(z: np.ndarray) -> np.ndarray:
            with self.precision():
                flat = jnp.asarray(z).reshape(-1, z.shape[-1])
                return np.asarray(self._densities(flat, raw), float).reshape(z.shape[:-1])

        return density

    def _loss(self, raw: dict, key: Any) -> Any:
        call = self.call
        objective, programs = StickingELBO(PARTICLES), (call.model, call.guide)
        return objective.loss(key, self._params(raw), *programs, *call.args, **call.kwargs)

    def _weights(self, raw: dict, key: Any) -> Any:
        def weight(key: Any) -> Any:
            traces = self.call.pair(key, self._params(raw))
            log_p, log_q = (sum(log_probs(t).values(), jnp.zeros(())) for t in traces)
            return log_p - log_q

        return jax.lax.map(weight, jax.random.split(key, JUDGED), batch_size=PARTICLES)

    def _draw(self, key: Any, raw: dict) -> tuple[Any, Any]:
        return self.call.draw(key, self._params(raw))

    def _log_prob(self, z: Any, raw: dict) -> Any:
        return self.call.log_prob(z, self._params(raw))

    def _jitted(self, function: Callable, options: dict[str, Any] = OFTEN_AND_SHORT) -> Any:
        def traced(*args: Any) -> Any:
            # Tracing runs the user's functions, which may change what they read.
            with self._watch.running():
                return function(*args)

        return jax.jit(own_constants(traced), compiler_options=cpu_options(options))
