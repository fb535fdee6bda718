"""The compiled functions of a guide function on one target, made once and kept for further seeds.

There are two: a block of steps, and a batch of draws. The data are constants of them: the guide may
ask for their values, and is compiled anew for others.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.ahead import Ahead
from taut._core.constants import own_constants
from taut._core.fingerprint import Watch
from taut._core.precision import precision_of
from taut._core.random_keys import key_numbers
from taut._core.retraced import retraced
from taut._core.run_once import run_once
from taut._core.straight import straight
from taut._core.xla_options import OFTEN, OFTEN_AND_SHORT, cpu_options
from taut.infer.guide_call import GuideCall
from taut.infer.sticking_elbo import StickingELBO
from taut.infer.trace_elbo import log_probs
from taut.loop.adam import adam_block, fresh_state
from taut.targets.target import Target

PARTICLES = 64
"""Draws of the guide a step."""

JUDGED = 1024
"""Draws of one compiled call, and by which two sets of parameters are compared."""


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
            self._call = GuideCall(target, guide)
            self._start = self._call.read_params(dtype)
            self._constrained = run_once(self._traced(self._start.values))
            self._batch = self._compiled(self._drawn, OFTEN_AND_SHORT)
            self._steps = self._compiled(self._block, OFTEN)
            self._densities = jax.jit(
                self._traced(jax.vmap(self._log_prob, (0, None))),
                compiler_options=cpu_options(OFTEN_AND_SHORT),
            )
            self._prepare()

    def precision(self) -> Any:
        """Return the context in which it computes."""
        return precision_of(self.dtype)

    def start(self, seed: int) -> dict[str, Any]:
        """Return the first values of the parameters; random ones come from the seed."""
        with self.precision():
            return self._start.first(seed)

    def params(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return parameters in their constraints."""
        with self.precision():
            return jax.tree.map(np.asarray, self._constrained(raw))

    def draw(self, raw: dict[str, Any], seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return latent draws (count, dim) and their log densities (count,)."""
        with self.precision():
            keys = key_numbers(seed, -(-count // JUDGED) * JUDGED)
            batches = [self._batch(raw, part) for part in np.split(keys, len(keys) // JUDGED)]
            parts = [[np.asarray(array, float) for array in found[:2]] for found in batches]
        z, log_q = (np.concatenate(part)[:count] for part in zip(*parts, strict=True))
        return z, log_q

    def weights(self, raw: dict[str, Any], seed: int) -> np.ndarray:
        """Return log p - log q of draws (JUDGED,)."""
        with self.precision():
            return np.asarray(self._batch(raw, key_numbers(seed, JUDGED))[2])

    def block(self, state: Any, rate: Any, seed: int) -> tuple[Any, Any, Any]:
        """Make a block of steps, as `adam_block` does."""
        with self.precision():
            return self._steps(state, rate, key_numbers(seed, 1)[0])

    def density(self, raw: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return log densities of latent vectors as a function; None if they are not known."""
        if not self._knows_density:
            return None

        def density(z: np.ndarray) -> np.ndarray:
            with self.precision():
                flat = jnp.asarray(z).reshape(-1, z.shape[-1])
                return np.asarray(self._densities(flat, raw), float).reshape(z.shape[:-1])

        return density

    def _prepare(self) -> None:
        """Trace both functions; the first is compiled while the second is traced."""
        raw, keys = self._start.first(0), key_numbers(0, JUDGED)
        self._batch.prepare(raw, keys)
        if raw:
            self._steps.prepare(fresh_state(raw), np.zeros((), jnp.result_type(float)), keys[0])

    def _loss(self, raw: dict, key: Any) -> Any:
        call = self._call
        objective, programs = StickingELBO(PARTICLES), (call.model, call.guide)
        return objective.loss(key, self._start.values(raw), *programs, *call.args, **call.kwargs)

    def _block(self, state: Any, rate: Any, key: Any) -> tuple[Any, Any, Any]:
        return adam_block(self._loss, state, rate, jax.random.wrap_key_data(key))

    def _drawn(self, raw: dict, keys: Any) -> tuple[Any, Any, Any]:
        draw = retraced(self._draw, straight)
        params = self._start.values(raw)
        rows = jax.random.wrap_key_data(keys)
        return jax.lax.map(lambda key: draw(key, params), rows, batch_size=PARTICLES)

    def _draw(self, key: Any, params: dict) -> tuple[Any, Any, Any]:
        """A latent vector, log q there, and log p - log q."""
        model_trace, guide_trace = self._call.pair(key, params)
        self._knows_density = self._call.draws_all(guide_trace)
        z, log_det = self._call.latent_of(guide_trace)
        traces = model_trace, guide_trace
        log_p, log_q = (sum(log_probs(t).values(), jnp.zeros(())) for t in traces)
        return z, log_q + log_det, log_p - log_q

    def _log_prob(self, z: Any, raw: dict) -> Any:
        return self._call.log_prob(z, self._start.values(raw))

    def _traced(self, function: Callable) -> Callable:
        def traced(*args: Any) -> Any:
            # Tracing runs the user's functions, which may change what they read.
            with self._watch.running():
                return function(*args)

        return own_constants(traced)

    def _compiled(self, function: Callable, options: dict[str, Any]) -> Ahead:
        return Ahead(self._traced(function), lambda _: cpu_options(options))
