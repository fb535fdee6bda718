"""Steps a tenth as long, with any optimiser.

An optimiser hands out the params that are in its state. Found there, they go a tenth of the way
that it wanted; its averages and counters stay what it made of the gradient.
"""

from typing import Any

import jax

SHARE = 0.1
"""How much of a step is taken."""


def can_shorten(optim: Any, optim_state: Any) -> bool:
    """Whether the optimiser hands out params as they are in its state."""
    return _places(optim, optim_state) is not None


def shortened(optim: Any, old: Any, new: Any) -> Any:
    """Return the optimiser's state after a step, with its params a tenth of the way.

    Args:
        optim: the optimiser, as NumPyro wraps them.
        old: its state before the step.
        new: its state after the step.
    """
    before, (after, structure) = jax.tree.leaves(old), jax.tree.flatten(new)
    for place in _places(optim, new) or ():
        after[place] = before[place] + SHARE * (after[place] - before[place])
    return jax.tree.unflatten(structure, after)


def _places(optim: Any, optim_state: Any) -> tuple[int, ...] | None:
    at = {id(leaf): place for place, leaf in enumerate(jax.tree.leaves(optim_state))}
    params = jax.tree.leaves(optim.get_params(optim_state))
    if any(id(leaf) not in at for leaf in params):
        return None
    return tuple(at[id(leaf)] for leaf in params)
