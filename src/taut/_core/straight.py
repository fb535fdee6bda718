"""Traced functions without the operations that only cost time.

A model that JAX has traced is full of them: each `jnp` function is a call of its own, which JAX
differentiates, batches and lowers by itself; parameters are tested and the tests thrown away; the
logarithm of a constant is an operation, and so is a sum over no axes. XLA removes them all in the
end, after each was differentiated, batched and lowered. Here they are removed before, or become
cheaper ones. Gamma draws and rows picked from few, whose derivatives are slow to compile, are
replaced.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.extend.core.primitives import gather_p, jit_p

from taut._core.algebra import Made, simpler
from taut._core.gamma_draws import can_draw, gamma, log_gamma
from taut._core.held import Constants
from taut._core.joined import joined
from taut._core.key_chains import chained
from taut._core.picked import picked

# Calls of larger functions are left as they are: JAX remembers how it differentiated them.
LARGEST_INLINED = 16


def straight(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Return a traced function that computes the same in fewer operations.

    Results are the same but for rounding, for the sign of a zero, and for what is beyond all
    numbers on the way, or too near to zero for them.
    """
    jaxpr, walk = closed.jaxpr, _Walk()
    invars = [Var(v.aval) for v in jaxpr.invars]
    outvars = walk.through(closed, invars)
    kept = list(walk.constants.kept)
    equations = _placed(joined(chained(_needed(walk.equations, outvars), kept), kept))
    read = {id(atom) for equation in equations for atom in equation.invars}
    read.update(map(id, outvars))
    kept = [(v, value) for v, value in kept if id(v) in read]
    whole = jaxpr.replace(
        constvars=[v for v, _ in kept], invars=invars, outvars=outvars, eqns=equations
    )
    return ClosedJaxpr(whole, [value for _, value in kept])


def returning(closed: ClosedJaxpr, results: Sequence[int]) -> ClosedJaxpr:
    """Return a traced function that gives some of its results, and makes no others."""
    jaxpr = closed.jaxpr
    outvars = [jaxpr.outvars[i] for i in results]
    kept = _needed(jaxpr.eqns, outvars)
    return ClosedJaxpr(jaxpr.replace(outvars=outvars, eqns=kept), closed.consts)


def _placed(equations: Sequence[JaxprEqn]) -> list[JaxprEqn]:
    """Say of all equations that they come from one line of the user's: JAX writes down each."""
    return [equation.replace(source_info=equations[0].source_info) for equation in equations]


def _needed(equations: Sequence[JaxprEqn], outvars: Sequence[Any]) -> list[JaxprEqn]:
    """Return the equations that results or effects depend on."""
    wanted = {id(atom) for atom in outvars}
    kept = []
    for equation in reversed(equations):
        if equation.effects or any(id(v) in wanted for v in equation.outvars):
            kept.append(equation)
            wanted.update(id(atom) for atom in equation.invars)
    return kept[::-1]


class _Walk:
    """Goes through a traced function and keeps the equations that compute something new."""

    def __init__(self):
        self.equations: list[JaxprEqn] = []
        self.constants = Constants()
        self._sources: dict[Var, JaxprEqn] = {}
        self._seen: dict[Hashable, Sequence[Any]] = {}
        # What floats decide, and so latents and params may.
        self._of_floats: set[Var] = set()

    def through(self, closed: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
        """Return what a function returns, as variables and literals."""
        jaxpr = closed.jaxpr
        consts = zip(jaxpr.constvars, closed.consts, strict=True)
        made: dict[Any, Any] = {v: self.constants.hold(v, value) for v, value in consts}
        made.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            return atom if isinstance(atom, Literal) else made[atom]

        for equation in jaxpr.eqns:
            inputs = [read(atom) for atom in equation.invars]
            made.update(zip(equation.outvars, self._results(equation, inputs), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _results(self, equation: JaxprEqn, inputs: list[Any]) -> Sequence[Any]:
        inner = _inlined(equation)
        if equation.primitive is gather_p and not self._is_of_floats(inputs[1]):
            inner = picked(equation)
        if inner is not None:
            return self.through(inner, inputs)
        made = simpler(equation, inputs, self._source)
        if made is not None:
            return [self._make(made, equation)]
        constant = self.constants.computed(equation, inputs)
        if constant is not None:
            return [constant]
        key = _key(equation, inputs)
        if key is not None and key in self._seen:
            return self._seen[key]
        # New ones: those of a function that is called twice stand for two values.
        outputs = [Var(v.aval) for v in equation.outvars]
        new = equation.replace(invars=inputs, outvars=outputs)
        self.equations.append(new)
        self._sources.update((v, new) for v in outputs)
        if any(isinstance(atom, Var) and self._is_of_floats(atom) for atom in inputs):
            self._of_floats.update(outputs)
        if key is not None:
            self._seen[key] = outputs
        return outputs

    def _source(self, atom: Any) -> JaxprEqn | None:
        """Return the operation that made a variable, if it is kept."""
        return self._sources.get(atom) if isinstance(atom, Var) else None

    def _is_of_floats(self, atom: Any) -> bool:
        dtype = getattr(atom.aval, "dtype", None)
        inexact = dtype is not None and jnp.issubdtype(dtype, jnp.inexact)
        return inexact or (isinstance(atom, Var) and atom in self._of_floats)

    def _make(self, made: Any, equation: JaxprEqn) -> Any:
        """Return what stands for a rule's result, with the operations that it takes."""
        if not isinstance(made, Made):
            return made
        inputs = [self._make(each, equation) for each in made.inputs]
        primitive, outvars = made.primitive, [Var(made.aval)]
        new = equation.replace(
            primitive=primitive, invars=inputs, outvars=outvars, params=made.params
        )
        return self._results(new, inputs)[0]


def _inlined(equation: JaxprEqn) -> ClosedJaxpr | None:
    """Return the function whose operations take the place of an operation, or None."""
    if equation.primitive is jit_p:
        inner = equation.params["jaxpr"]
        short = len(inner.jaxpr.eqns) <= LARGEST_INLINED
        return inner if short or _draws_gamma(inner.jaxpr) else None
    if equation.primitive.name == _GAMMA:
        key, shape = map(_aval, equation.invars)
        if can_draw(key.dtype, shape.dtype):
            draw = log_gamma if equation.params["log_space"] else gamma
            types = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (key, shape))
            return jax.make_jaxpr(draw)(*types)
    return None


def _draws_gamma(jaxpr: Jaxpr) -> bool:
    calls = (e.params["jaxpr"].jaxpr for e in jaxpr.eqns if e.primitive is jit_p)
    return any(e.primitive.name == _GAMMA for e in jaxpr.eqns) or any(map(_draws_gamma, calls))


# JAX's draws of gamma variables are made by `gamma_draws`.
_GAMMA = "random_gamma"


def _key(equation: JaxprEqn, inputs: Sequence[Any]) -> Hashable:
    """Return what two operations that compute the same have in common; None where it is unknown."""
    if equation.effects:
        return None
    atoms = tuple(
        (type(a.val), np.asarray(a.val).tobytes(), a.aval) if isinstance(a, Literal) else a
        for a in inputs
    )
    key = equation.primitive, atoms, tuple(sorted(equation.params.items(), key=lambda p: p[0]))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _aval(atom: Any) -> Any:
    """Return the shape and type of a variable or a literal."""
    return atom.aval
