"""A model traced before its latent vector is known.

How long the vector is shows only when the model has run. So the run that finds the sites holds an
operation in the place of each latent, and these become slices of the vector afterwards: one run of
the model's function is enough.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Primitive, Var

from taut._core.constants import with_copies
from taut.targets.program import Site

_latent_p = Primitive("latent_site")
_end_p = Primitive("end_of_model")


@_latent_p.def_abstract_eval
def _latent_type(*, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    return ShapedArray(shape, dtype)


@_end_p.def_abstract_eval
def _end_type() -> Any:
    return ShapedArray((), np.dtype(bool))


def placeholder(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """Return what stands for a site's latent in a function that is being traced."""
    return _latent_p.bind(name=name, shape=tuple(shape), dtype=np.dtype(dtype))


def mark_end() -> None:
    """Say that all that is traced from here on is none of the model's own."""
    _end_p.bind()


def model_alone(traced: ClosedJaxpr) -> ClosedJaxpr:
    """Return a traced function that ends where the model does, and returns nothing."""
    equations = traced.jaxpr.eqns
    ends = [i for i, equation in enumerate(equations) if equation.primitive is _end_p]
    kept = equations[: ends[0]] if ends else equations
    return ClosedJaxpr(traced.jaxpr.replace(eqns=kept, outvars=[]), traced.consts)


def at_vector(traced: ClosedJaxpr, sites: Sequence[Site], dtype: np.dtype) -> ClosedJaxpr | None:
    """Return a traced function of the latent vector, and of what it was a function of.

    It holds copies of the arrays that the model reads. None if a placeholder is inside a function,
    a loop or a branch.

    Args:
        traced: with placeholders for the latents.
        sites: where in the vector (dim,) each latent is.
        dtype: of the vector.
    """
    vector = jax.ShapeDtypeStruct((sum(site.size for site in sites),), dtype)
    taken = jax.make_jaxpr(lambda z: [site.take(z) for site in sites])(vector).jaxpr
    places = {site.name: i for i, site in enumerate(sites)}
    names: dict[Any, Any] = {}
    kept = []
    for equation in traced.jaxpr.eqns:
        if equation.primitive is _latent_p:
            names[equation.outvars[0]] = taken.outvars[places[equation.params["name"]]]
        elif equation.primitive is not _end_p:
            kept.append(equation.replace(invars=[_named(a, names) for a in equation.invars]))
    if len(names) < len(sites):
        return None
    whole = traced.jaxpr.replace(
        invars=[*taken.invars, *traced.jaxpr.invars],
        outvars=[_named(atom, names) for atom in traced.jaxpr.outvars],
        eqns=[*taken.eqns, *kept],
        debug_info=taken.debug_info,
    )
    return with_copies(ClosedJaxpr(whole, traced.consts))


def _named(atom: Any, names: dict[Any, Any]) -> Any:
    return names.get(atom, atom) if isinstance(atom, Var) else atom
