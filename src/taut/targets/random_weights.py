"""Networks whose weights have priors: NumPyro's `random_flax_module` and its like.

They declare all weights as one `numpyro.param`, draw those with a prior by `numpyro.sample`, and
write a `ParamShape` in the place of each of these into the param's dictionary, after the fact. What
a trace holds of the param is then what is left to be learned, with shapes in place of the rest.
"""

from typing import Any

import jax
from numpyro.contrib.module import ParamShape


def is_drawn(value: Any) -> bool:
    """Whether a part of a param is the place of a weight that is drawn."""
    return isinstance(value, ParamShape)


def has_drawn(value: Any) -> bool:
    """Whether any part of a param is."""
    return any(is_drawn(leaf) for leaf in jax.tree.leaves(value, is_leaf=is_drawn))
