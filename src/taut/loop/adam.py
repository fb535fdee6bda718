"""Adam without anything to choose: step sizes race, and the optimiser stops when all are spent.

Steps come in blocks, and what counts is the average of the second half of a block. A step size is
good as long as its blocks raise the ELBO by more than the noise of a comparison on common draws;
then it is divided by four. When a whole step size gained nothing that matters, the fit has
converged: what a constant step size leaves behind is proportional to it, so a third of the last
gain is still to be had.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.gradients import value_and_grad
from taut.loop.verdict import Verdict

BLOCK = 100
RACE = (0.3, 0.1, 0.03, 0.01, 0.003)
DROP = 4.0
SMALLEST = 1e-5
MOST_BLOCKS = 200

# A block that loses more than this many nats is forgotten.
LOST = 5.0

# Noise of a comparison, in standard errors.
SURE = 2.0

_FIRST, _SECOND, _CLIP, _TINY = 0.9, 0.99, 10.0, 1e-8

Loss = Callable[[Any, Any], Any]
"""From parameters (a pytree of arrays) and a random key to the loss, a scalar."""

Steps = Callable[[Any, Any, int], tuple[Any, Any, Any]]
"""`adam_block` of a loss, compiled; the key comes from a seed."""

Weights = Callable[[Any, int], Any]
"""From parameters and a seed to log p - log q of fresh draws (draws,)."""


@dataclasses.dataclass(frozen=True)
class Block:
    """What a block did.

    Attributes:
        params: the average of its second half.
        log_weights: log p - log q of common draws at that average.
        loss: the mean of its losses.
        rate: its step size.
        steps: steps made since the start.
    """

    params: Any
    log_weights: np.ndarray
    loss: float
    rate: float
    steps: int

    @property
    def elbo(self) -> float:
        """The mean of the log weights; minus infinity if one is not a number."""
        mean = float(self.log_weights.mean())
        return mean if np.isfinite(mean) else -np.inf


class AutomaticAdam:
    """Minimises a loss over a pytree of parameters.

    Args:
        block: makes a block of steps; compiled.
        weights: what its progress is judged by.
        tolerance: ELBO in nats that may be lost.
        seed: where all random numbers come from.
        watch: called after each block.
    """

    def __init__(
        self,
        block: Steps,
        weights: Weights,
        tolerance: float,
        seed: int,
        watch: Callable[[Block], None],
    ):
        self._tolerance, self._watch = tolerance, watch
        self._rng = np.random.default_rng(seed)
        self._block, self._weights = block, weights
        self._steps = 0
        self.best: Block | None = None

    def run(self, start: Any) -> tuple[Block, Verdict]:
        """Minimise from a start, until nothing is gained any more."""
        fresh = fresh_state(start)
        first = self._judge(start, np.inf, 0.0, self._next_seed())
        block_seed, draw_seed = self._next_seed(), self._next_seed()
        racers = [self._advance(fresh, rate, block_seed, draw_seed) for rate in RACE]
        state, best = max(racers, key=lambda racer: _rank(racer[1]))
        if _rank(first) > _rank(best):
            state, best = fresh, first
        rate = best.rate if best.rate else RACE[-1]
        self.best = best
        gained, stalls, drops = np.inf, 0, 0
        for _ in range(MOST_BLOCKS):
            draw_seed = self._next_seed()
            state, found = self._advance(state, rate, self._next_seed(), draw_seed)
            old = self._judge(best.params, best.loss, best.rate, draw_seed)
            gain, error = _difference(found, old)
            if gain > 0 or np.isneginf(old.elbo):
                best = found
                gained = gain + (gained if np.isfinite(gained) else 0.0)
            self.best = best
            lost = not np.isfinite(found.elbo) or gain < -LOST
            stalls = 0 if gain > max(SURE * error, self._tolerance) else stalls + 1
            if not lost and stalls < 2 and gain >= -SURE * error:
                continue
            drops += 1
            gained = max(gained, 0.0) if np.isfinite(gained) else 0.0
            spent = drops > 1 and not lost and gained < self._tolerance + error
            if spent or rate / DROP < SMALLEST:
                return best, _converged(best, gained)
            rate, gained, stalls, state = rate / DROP, 0.0, 0, fresh_state(best.params)
        return best, Verdict(
            False, "gradients", f"stopped after {self._steps:,} steps, with the ELBO still rising"
        )

    def _advance(self, state: Any, rate: float, seed: int, draw_seed: int) -> tuple[Any, Block]:
        state, average, loss = self._block(state, _number(rate), seed)
        self._steps += BLOCK
        found = self._judge(average, float(loss), rate, draw_seed)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state)):
            found = dataclasses.replace(found, log_weights=np.array([-np.inf]))
        self._watch(found)
        return state, found

    def _judge(self, params: Any, loss: float, rate: float, seed: int) -> Block:
        return Block(params, np.asarray(self._weights(params, seed)), loss, rate, self._steps)

    def _next_seed(self) -> int:
        return int(self._rng.integers(2**31))


def _rank(progress: Block) -> tuple[int, float]:
    """More draws with a finite weight first, then a higher ELBO."""
    finite = np.isfinite(progress.log_weights)
    mean = progress.log_weights[finite].mean() if finite.any() else -np.inf
    return int(finite.sum()), float(mean)


def _difference(found: Block, old: Block) -> tuple[float, float]:
    if found.log_weights.shape != old.log_weights.shape or not np.isfinite(found.elbo):
        return -np.inf, 0.0
    if not np.isfinite(old.elbo):
        return np.inf, 0.0
    difference = found.log_weights.astype(float) - old.log_weights
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))


def _converged(best: Block, gained: float) -> Verdict:
    if not np.isfinite(best.elbo):
        return Verdict(False, "non-finite", "the ELBO is not finite at any step size")
    error = float(best.log_weights.std() / np.sqrt(len(best.log_weights)))
    gap = max(gained / (DROP - 1.0), 0.0)
    return Verdict(
        True,
        "converged",
        f"the optimiser converged; further steps are expected to gain less than "
        f"{max(gap, 1e-4):.2g} nat (the ELBO is known to {error:.1g})",
        gap,
    )


def fresh_state(params: Any) -> Any:
    """Return what `adam_block` starts from: parameters, their moments, and no step made."""
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
    return params, zeros, zeros, _number(0.0)


def _number(value: float) -> np.ndarray:
    return np.asarray(value, jnp.result_type(float))


def adam_block(loss: Loss, state: Any, rate: Any, key: Any) -> tuple[Any, Any, Any]:
    """Make `BLOCK` steps of Adam.

    Args:
        loss: what to minimise.
        state: parameters, their two moments, and how many steps were made.
        rate: the step size.
        key: where the steps' random numbers come from.

    Returns:
        The state, the average of the parameters over the second half, the mean of the losses.
    """

    def step(carry: Any, index: Any) -> tuple[Any, Any]:
        (params, first, second, count), total = carry
        once = jax.random.fold_in(key, index)
        value, gradient = value_and_grad(lambda params: loss(params, once), params)
        leaves = jax.tree.leaves(gradient)
        norm = jnp.sqrt(sum((jnp.sum(leaf**2) for leaf in leaves), jnp.zeros(())))
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        shrink = jnp.where(norm > _CLIP, _CLIP / norm, 1.0)
        gradient = jax.tree.map(lambda g: shrink * g, gradient)
        one = count + 1.0
        m = jax.tree.map(lambda a, g: _FIRST * a + (1 - _FIRST) * g, first, gradient)
        v = jax.tree.map(lambda a, g: _SECOND * a + (1 - _SECOND) * g**2, second, gradient)
        size = rate * jnp.sqrt(1 - _SECOND**one) / (1 - _FIRST**one)
        moved = jax.tree.map(lambda p, a, b: p - size * a / (jnp.sqrt(b) + _TINY), params, m, v)
        new = (moved, m, v, one)
        # A step that is not finite is passed over.
        state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, carry[0])
        late = index >= BLOCK // 2
        total = jax.tree.map(lambda t, p: t + late * p, total, state[0])
        return (state, total), value

    zeros = jax.tree.map(jnp.zeros_like, state[0])
    (state, total), values = jax.lax.scan(step, (state, zeros), jnp.arange(BLOCK))
    average = jax.tree.map(lambda t: t / (BLOCK - BLOCK // 2), total)
    return state, average, jnp.mean(values)
