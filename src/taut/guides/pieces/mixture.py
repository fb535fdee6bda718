"""Mixtures with free weights."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpyro.distributions import CategoricalProbs, MixtureGeneral
from numpyro.distributions.distribution import Distribution

from taut._core.errors import InputError, first_few


def mixture(weights: Any, components: Sequence[Any]) -> MixtureGeneral:
    """A mixture of distributions: sum_k weights[k] q_k(x).

    The density sums over the components. Which component a draw comes from is no smooth function of
    the weights, so no gradient passes through that choice: `has_rsample` is false, and Taut's
    objectives average over the components instead. NumPyro's `Trace_ELBO` differentiates as if
    there were nothing to average, and learns wrong weights.

    A smooth version of the draws exists (Figurnov, Mohamed, Mnih 2018, equation 5) but is useless
    between separate modes: its gradient lives on the draws in the gap, and there are none.

    Args:
        weights: shares that sum to one (components,); numbers or parameters.
        components: distributions with the same event shape and support.

    Raises:
        InputError: the components differ in shape or support, or the weights in number or sum.
    """
    if not hasattr(weights, "shape"):
        weights = jnp.stack([jnp.asarray(w, float) for w in weights])
    problems = _problems(weights, tuple(components))
    if problems:
        raise InputError(problems)
    support = components[0].support
    return MixtureGeneral(CategoricalProbs(weights), list(components), support=support)


def _problems(weights: Any, components: tuple[Any, ...]) -> list[str]:
    wrong = [type(c).__name__ for c in components if not isinstance(c, Distribution)]
    if wrong or not components:
        return [f"the components of a mixture are distributions; got {first_few(wrong) or 'none'}"]
    problems = []
    if jnp.shape(weights)[-1] != len(components):
        problems.append(
            f"a mixture of {len(components)} components needs as many weights; got "
            f"{jnp.shape(weights)[-1]}"
        )
    if not isinstance(weights, Tracer):
        shares = np.asarray(weights)
        # Rounding of a few dozen single-precision shares.
        if np.any(shares < 0) or not np.allclose(shares.sum(axis=-1), 1.0, atol=1e-4):
            problems.append(f"the weights of a mixture are shares that sum to one; got {weights}")
    events = {tuple(c.event_shape) for c in components}
    if len(events) > 1:
        problems.append(f"the components have different event shapes: {first_few(sorted(events))}")
    supports = {_kind(c) for c in components}
    if len(supports) > 1:
        problems.append(
            f"the components have different supports: {first_few(sorted(supports))}; carry them "
            "to one with taut.guides.on_support"
        )
    return problems


def _kind(component: Distribution) -> str:
    support = component.support
    name = type(getattr(support, "base_constraint", support)).__name__.lstrip("_")
    return "Real" if name == "RealVector" else name
