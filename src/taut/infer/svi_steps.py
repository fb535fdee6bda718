"""Many steps as one compiled loop, and what is done where one of them is not finite.

A loop that tests every step and can take it back costs more than the steps of a small model. So the
loop here only steps, and ends after a loss that is not finite; params are looked at once in a block
of 50 steps. Where something is not finite, the host makes the steps of that block again up to the
bad one. It is the same executable that makes them, so they are the same bit by bit; and as the
random key is part of the state, so are runs cut into other chunks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from taut.infer.settling import COORDINATES, THINNING
from taut.infer.shorter import shortened
from taut.infer.svi_problem import SVIState

CHUNK = 5000
"""Most steps of one compiled call."""

MOST_OUTSIDE = 20
"""Draws outside the model's support, one after another, after which a run ends."""

KEPT = CHUNK // THINNING + 1


class Made(NamedTuple):
    """What one call of the compiled loop made.

    Attributes:
        state: after the last step.
        before: at the beginning of the last block.
        tried: how many steps were made.
        whole: how many of them lie before the last block.
        finite: whether the losses, and the params at the ends of all blocks, are finite.
        losses: (CHUNK,), of which the first `tried` are filled.
        kept: coordinates of the params (KEPT, coordinates), a row for each block.
    """

    state: SVIState
    before: SVIState
    tried: Any
    whole: Any
    finite: Any
    losses: Any
    kept: Any


class Steps(NamedTuple):
    """What came of a number of steps.

    Attributes:
        state: after the last good step.
        losses: of every step tried, (tried,).
        kept: coordinates of the params, a row for each block of 50 steps that was completed.
        going: whether to go on; if not, the last step is not finite.
        outside: how many steps just before drew outside the support.
    """

    state: SVIState
    losses: np.ndarray
    kept: np.ndarray
    going: bool
    outside: int


def loop(
    step: Callable[[SVIState], tuple[SVIState, Any]],
    optim: Any,
    stable: bool,
    short: bool,
    state: SVIState,
    begin: Any,
    count: Any,
) -> Made:
    """Make up to `count` steps, to be compiled.

    Args:
        step: makes one.
        optim: the optimiser, as NumPyro wraps them.
        stable: the steps take care of themselves; what is not finite is not looked for.
        short: make every step a tenth as long.
        state: where to start.
        begin: steps made before, which decides where blocks end.
        count: how many steps to make, at most `CHUNK`.
    """
    first = _coordinates(optim, state)
    dtype = jnp.result_type(float)

    def goes_on(carry: Any) -> Any:
        end, tried, loss = carry[:3]
        return (tried < end) & (stable | jnp.isfinite(loss))

    def advance(carry: Any) -> Any:
        end, tried, _, old, losses = carry
        new, loss = step(old)
        if short:
            optim_state = shortened(optim, old.optim_state, new.optim_state)
            new = new._replace(optim_state=optim_state)
        loss = loss.astype(dtype)
        return end, tried + 1, loss, new, losses.at[tried].set(loss)

    def next_block(made: Made) -> Made:
        tried = made.tried
        end = jnp.minimum(count, tried + THINNING - (begin + tried) % THINNING)
        carry = (end, tried, jnp.zeros((), dtype), made.state, made.losses)
        _, now, loss, state, losses = jax.lax.while_loop(goes_on, advance, carry)
        finite = jnp.isfinite(loss)
        for leaf in jax.tree.leaves(optim.get_params(state.optim_state)):
            finite &= jnp.isfinite(leaf).all()
        row = (begin + tried) // THINNING - begin // THINNING
        finite |= stable
        # A bad step that is alone in its block is not taken.
        ends = _coordinates(optim, state), _coordinates(optim, made.state)
        kept = made.kept.at[row].set(jnp.where(finite, *ends))
        return Made(state, made.state, now, tried, finite, losses, kept)

    zero = jnp.zeros((), jnp.int32)
    losses = jnp.zeros((CHUNK,), dtype)
    kept = jnp.zeros((KEPT, len(first)), first.dtype)
    start = Made(state, state, zero, zero, jnp.ones((), bool), losses, kept)
    return jax.lax.while_loop(lambda m: m.finite & (m.tried < count), next_block, start)


def make_steps(
    run: Callable[[SVIState, int, int], Made],
    state: SVIState,
    begin: int,
    count: int,
    outside: int,
) -> Steps:
    """Make up to `count` steps; stop before one whose loss or params are not finite.

    A loss of plus infinity means a draw outside the model's support. Its gradient says nothing, so
    the step is passed over; the end is only when many such draws come one after another.

    Args:
        run: the compiled loop: `run(state, begin, count)`.
        state: where to start.
        begin: steps made before.
        count: how many steps to make.
        outside: how many steps just before drew outside the support.
    """
    pieces, end, going = _Pieces(begin), begin + count, True
    # How many steps to make next, the last entry first, on the way to a bad one.
    plan: list[int] = []
    while going and pieces.steps < end:
        made = run(state, pieces.steps, plan.pop() if plan else end - pieces.steps)
        numbers = (made.tried, made.whole, made.finite, made.losses, made.kept)
        tried, whole, finite, losses, kept = jax.device_get(numbers)
        if finite:
            pieces.add(losses[:tried], kept)
            state, outside = made.state, 0
        elif tried > 1:
            # The state before the block is still there.
            pieces.add(losses[:whole], kept)
            state, again = made.before, int(tried - whole)
            outside = 0 if whole else outside
            # Where the last loss is finite, any step of the block may have spoilt the params.
            plan = [1] * again if np.isfinite(losses[tried - 1]) else [1, again - 1]
            plan = [n for n in plan if n]
        else:
            pieces.add(losses[:1], kept)
            missed = bool(np.isposinf(losses[0]))
            outside = (outside + 1) * missed
            going = missed and outside < MOST_OUTSIDE
            if missed:
                state = state._replace(rng_key=made.state.rng_key)
    return Steps(state, *pieces.joined(), going, outside)


class _Pieces:
    """Losses and iterates put together from several calls of the loop."""

    def __init__(self, begin: int):
        self.steps = begin
        self._losses: list[np.ndarray] = []
        self._kept: list[np.ndarray] = []

    def add(self, losses: np.ndarray, kept: np.ndarray) -> None:
        """Add some steps, and the rows of the blocks that they complete."""
        done = (self.steps + len(losses)) // THINNING - self.steps // THINNING
        self._losses.append(losses)
        self._kept.append(kept[:done])
        self.steps += len(losses)

    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the losses, and the rows of all complete blocks."""
        return np.concatenate(self._losses), np.concatenate(self._kept)


def _coordinates(optim: Any, state: SVIState) -> Any:
    raw = optim.get_params(state.optim_state)
    flat = [jnp.ravel(leaf) for leaf in jax.tree.leaves(raw)]
    joined = jnp.concatenate(flat) if flat else jnp.zeros((0,))
    stride = -(-len(joined) // COORDINATES) or 1
    return joined[::stride]
