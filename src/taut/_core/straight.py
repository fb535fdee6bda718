"""Traced functions without the operations that only cost time.

A model that JAX has traced is full of them: each `jnp` function is a call of its own, which JAX
differentiates, batches and lowers by itself; parameters are tested and the tests thrown away; the
logarithm of a constant is an operation, and so is a sum over no axes. XLA removes them all in the
end, after each was differentiated, batched and lowered. Here they are removed before. Gamma draws
and rows picked from few, whose derivatives are slow to compile, are replaced.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.extend.core.primitives import gather_p, jit_p

from taut._core.gamma_draws import can_draw, gamma, log_gamma
from taut._core.joined import joined
from taut._core.key_chains import chained
from taut._core.picked import picked

# Calls of larger functions are left as they are: JAX remembers how it differentiated them.
LARGEST_INLINED = 16


def straight(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Return a traced function that computes the same in fewer operations.

    Results are the same but for the rounding of constants, for the sign of a zero to which a zero
    is added or of which the size is taken, and for what is beyond all numbers, or too near to zero
    for them, between two constant factors.
    """
    jaxpr, walk = closed.jaxpr, _Walk()
    constvars, invars = _fresh(jaxpr.constvars), _fresh(jaxpr.invars)
    outvars = walk.through(jaxpr, constvars, invars)
    kept = [*zip(constvars, closed.consts, strict=True), *walk.inner_consts]
    equations = _placed(joined(chained(_needed(walk.equations, outvars), kept), kept))
    whole = jaxpr.replace(
        constvars=[v for v, _ in kept], invars=invars, outvars=outvars, eqns=equations
    )
    return ClosedJaxpr(whole, [c for _, c in kept])


def returning(closed: ClosedJaxpr, results: Sequence[int]) -> ClosedJaxpr:
    """Return a traced function that gives some of its results, and makes no others."""
    jaxpr = closed.jaxpr
    outvars = [jaxpr.outvars[i] for i in results]
    kept = _needed(jaxpr.eqns, outvars)
    return ClosedJaxpr(jaxpr.replace(outvars=outvars, eqns=kept), closed.consts)


def _fresh(variables: Sequence[Var]) -> list[Var]:
    """Return new variables: those of a function that is called twice stand for two values."""
    return [Var(v.aval) for v in variables]


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
        self.inner_consts: list[tuple[Var, Any]] = []
        self._sources: dict[Var, JaxprEqn] = {}
        self._seen: dict[Hashable, Sequence[Any]] = {}
        # What floats decide, and so latents and params may.
        self._of_floats: set[Var] = set()

    def through(
        self, jaxpr: Jaxpr, constvars: Sequence[Any], arguments: Sequence[Any]
    ) -> list[Any]:
        """Return what a function returns, as variables and literals."""
        made: dict[Any, Any] = dict(zip(jaxpr.constvars, constvars, strict=True))
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
            constvars = _fresh(inner.jaxpr.constvars)
            self.inner_consts += zip(constvars, inner.consts, strict=True)
            return self.through(inner.jaxpr, constvars, inputs)
        inputs = self._factored(equation, inputs)
        shortcut = self._shortcut(equation, inputs)
        if shortcut is not None:
            return [shortcut]
        key = _key(equation, inputs)
        if key is not None and key in self._seen:
            return self._seen[key]
        outputs = _fresh(equation.outvars)
        new = equation.replace(invars=inputs, outvars=outputs)
        self.equations.append(new)
        self._sources.update((v, new) for v in outputs)
        if any(isinstance(atom, Var) and self._is_of_floats(atom) for atom in inputs):
            self._of_floats.update(outputs)
        if key is not None:
            self._seen[key] = outputs
        return outputs

    def _is_of_floats(self, atom: Any) -> bool:
        dtype = getattr(atom.aval, "dtype", None)
        inexact = dtype is not None and jnp.issubdtype(dtype, jnp.inexact)
        return inexact or (isinstance(atom, Var) and atom in self._of_floats)

    def _shortcut(self, equation: JaxprEqn, inputs: Sequence[Any]) -> Any:
        """Return the result of an operation that need not be made, or None."""
        if len(equation.outvars) != 1 or equation.effects:
            return None
        name, out = equation.primitive.name, _aval(equation.outvars[0])
        if not hasattr(out, "dtype") or jnp.issubdtype(out.dtype, jax.dtypes.extended):
            return None
        if name in _FOLDED and all(isinstance(atom, Literal) for atom in inputs):
            return _folded(name, inputs, out)
        if name in _OF_SHAPE and _same(_aval(inputs[0]), out):
            return inputs[0]
        if name == "integer_pow" and equation.params["y"] == 1:
            return inputs[0]
        if name == "abs" and self._cannot_be_negative(inputs[0]):
            return inputs[0]
        if name in _NEUTRAL:
            first, second = inputs
            neutral = _NEUTRAL[name]
            if _is(second, neutral) and _same(_aval(first), out):
                return first
            if name not in _ORDERED and _is(first, neutral) and _same(_aval(second), out):
                return second
        if name == "reduce_sum" and out.shape == ():
            return self._made_of_one(inputs[0])
        return None

    def _factored(self, equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
        """Return what a product is made of, two constant factors made one."""
        if equation.primitive.name != "mul" or not isinstance(inputs[0], Literal):
            return inputs
        inner = self._source(inputs[1])
        if inner is None or inner.primitive.name != "mul":
            return inputs
        first, second = inner.invars
        out = _aval(inputs[0])
        if not isinstance(first, Literal) or not _same(_aval(first), out):
            return inputs
        factor = _folded("mul", [inputs[0], first], out)
        if factor is None:
            return inputs
        limits = jnp.finfo(out.dtype)
        if not limits.tiny <= abs(factor.val) <= limits.max:
            return inputs
        return [factor, second]

    def _cannot_be_negative(self, atom: Any) -> bool:
        # Integers may overflow into the negative.
        if not jnp.issubdtype(_aval(atom).dtype, jnp.floating):
            return False
        if isinstance(atom, Literal):
            return np.ndim(atom.val) == 0 and bool(atom.val >= 0.0)
        source = self._source(atom)
        if source is None:
            return False
        name = source.primitive.name
        if name in _SUMS_AND_SHAPES:
            return self._cannot_be_negative(source.invars[0])
        return name in _NEVER_NEGATIVE or (name == "integer_pow" and source.params["y"] % 2 == 0)

    def _source(self, atom: Any) -> JaxprEqn | None:
        """Return the operation that made a variable, if it is kept."""
        return self._sources.get(atom) if isinstance(atom, Var) else None

    def _made_of_one(self, atom: Any) -> Any:
        """Return the scalar that an array of one number was made of, or None."""
        source = self._source(atom)
        if source is None or source.primitive.name not in ("broadcast_in_dim", "reshape"):
            return None
        origin = source.invars[0]
        return origin if _aval(atom).size == 1 and _aval(origin).shape == () else None


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

# Operations that do nothing where shape and type stay the same.
_OF_SHAPE = ("convert_element_type", "reshape", "broadcast_in_dim", "squeeze", "reduce_sum")

# Operations whose results are no less than zero, and those whose results are if what they take is.
_NEVER_NEGATIVE = ("abs", "exp", "logistic", "sqrt", "square")
_SUMS_AND_SHAPES = ("broadcast_in_dim", "reduce_sum", "reshape", "squeeze")

# Second operands that change nothing; first ones do so too, but where the order matters.
_ORDERED = ("sub", "div")
_NEUTRAL = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0, "max": -np.inf, "min": np.inf}

_FOLDED: dict[str, Callable] = {
    "abs": np.abs,
    "add": np.add,
    "convert_element_type": np.asarray,
    "div": np.divide,
    "exp": np.exp,
    "log": np.log,
    "mul": np.multiply,
    "neg": np.negative,
    "sqrt": np.sqrt,
    "sub": np.subtract,
}


def _folded(name: str, inputs: Sequence[Literal], out: Any) -> Literal | None:
    """Return the result of an operation on known numbers, where it is one too."""
    if out.shape != () or not np.issubdtype(out.dtype, np.floating):
        return None
    with np.errstate(all="ignore"):
        value = _FOLDED[name](*(np.asarray(atom.val, _aval(atom).dtype) for atom in inputs))
    return Literal(np.asarray(value, out.dtype)[()], out)


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


def _same(first: Any, second: Any) -> bool:
    return first.shape == second.shape and first.dtype == second.dtype


def _is(atom: Any, value: float) -> bool:
    return isinstance(atom, Literal) and np.ndim(atom.val) == 0 and bool(atom.val == value)
