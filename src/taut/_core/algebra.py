"""Rules by which an operation of a traced function needs not be made, or becomes a cheaper one.

JAX differentiates, batches, lowers and compiles every operation of a model by itself, so one less
is worth more here than when it runs. Scales are exponentials nearly everywhere, because latents are
unconstrained: their logarithms are known, and dividing by them is multiplying.

No rule changes more than rounding. So numbers that are added stay where they are: a date of which
another was taken may be known to many more digits than their sum with anything else.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn, Literal, Primitive
from jax.extend.core.primitives import add_p, mul_p, neg_p, reduce_sum_p, sub_p

# Finds the operation that made a variable, if it is kept.
Sources = Callable[[Any], JaxprEqn | None]

# Squares of what is divided by such numbers stay far from the ends of single precision.
_SQUARED = 1e9


@dataclasses.dataclass(frozen=True)
class Made:
    """An operation to be made: what it takes, of variables, literals and other operations."""

    primitive: Primitive
    inputs: tuple[Any, ...]
    aval: Any
    params: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Operation:
    """An operation, with what it takes, and how what it takes was made."""

    equation: JaxprEqn
    inputs: Sequence[Any]
    source: Sources

    @property
    def out(self) -> Any:
        return self.equation.outvars[0].aval

    def maker(self, atom: Any, name: str) -> JaxprEqn | None:
        """Return the operation of that name that made a variable, or None."""
        source = self.source(atom)
        return source if source is not None and source.primitive.name == name else None

    def number(self, atom: Any) -> float | None:
        """Return the number that a literal is, or that an array repeats; None for others."""
        spread = self.maker(atom, "broadcast_in_dim")
        atom = atom if spread is None else spread.invars[0]
        known = isinstance(atom, Literal) and np.ndim(atom.val) == 0
        return float(atom.val) if known else None

    def literal(self, value: float) -> Literal | None:
        """Return a number as a literal of the result's type; None if it is none of its numbers."""
        dtype = self.out.dtype
        limits = jnp.finfo(dtype)
        if value != 0.0 and not float(limits.tiny) <= abs(value) <= float(limits.max):
            return None
        return Literal(np.asarray(value, dtype)[()], ShapedArray((), dtype))

    def like(self, primitive: Primitive, *inputs: Any) -> Made:
        """Return another operation whose result has the same type."""
        return Made(primitive, inputs, self.out)


def simpler(equation: JaxprEqn, inputs: Sequence[Any], source: Sources) -> Any:
    """Return what an operation becomes: a variable, a literal, an operation; None for itself.

    Args:
        equation: the operation.
        inputs: what it takes.
        source: finds what made a variable.
    """
    if len(equation.outvars) != 1 or equation.effects:
        return None
    name = equation.primitive.name
    out: Any = equation.outvars[0].aval
    if not hasattr(out, "dtype") or jnp.issubdtype(out.dtype, jax.dtypes.extended):
        return None
    operation = _Operation(equation, inputs, source)
    rules = _RULES.get(name, ())
    if not jnp.issubdtype(out.dtype, jnp.floating):
        rules = [rule for rule in rules if rule in _OF_ALL_TYPES]
    return next((made for rule in rules if (made := rule(operation)) is not None), None)


def _unchanged(operation: _Operation) -> Any:
    """Shape and type stay the same."""
    return operation.inputs[0] if _same(operation.inputs[0].aval, operation.out) else None


def _first_power(operation: _Operation) -> Any:
    return operation.inputs[0] if operation.equation.params["y"] == 1 else None


def _neutral(operation: _Operation) -> Any:
    """One operand changes nothing; the first may only where the order does not matter."""
    name, (first, second) = operation.equation.primitive.name, operation.inputs
    neutral = _NEUTRAL[name]
    if _is(second, neutral) and _same(first.aval, operation.out):
        return first
    ordered = name in ("sub", "div")
    if not ordered and _is(first, neutral) and _same(second.aval, operation.out):
        return second
    return None


def _folded(operation: _Operation) -> Any:
    """All that it takes are numbers, and so is the result."""
    out = operation.out
    if out.shape != () or not all(isinstance(atom, Literal) for atom in operation.inputs):
        return None
    values = (np.asarray(atom.val, atom.aval.dtype) for atom in operation.inputs)
    with np.errstate(all="ignore"):
        value = _FOLDED[operation.equation.primitive.name](*values)
    return Literal(np.asarray(value, out.dtype)[()], out)


def _folded_everywhere(operation: _Operation) -> Any:
    """What it takes are numbers, repeated."""
    spread = [operation.maker(a, "broadcast_in_dim") for a in operation.inputs]
    made = next((each for each in spread if each is not None), None)
    numbers = [operation.number(atom) for atom in operation.inputs]
    if made is None or None in numbers or not _same(made.outvars[0].aval, operation.out):
        return None
    with np.errstate(all="ignore"):
        value = _FOLDED[operation.equation.primitive.name](*numbers)
    literal = operation.literal(float(value))
    return literal and Made(made.primitive, (literal,), operation.out, made.params)


def _positive(operation: _Operation) -> Any:
    """The size of what cannot be negative."""
    return operation.inputs[0] if _cannot_be_negative(operation.inputs[0], operation) else None


def _cannot_be_negative(atom: Any, operation: _Operation) -> bool:
    # Integers may overflow into the negative.
    if not jnp.issubdtype(atom.aval.dtype, jnp.floating):
        return False
    if isinstance(atom, Literal):
        return np.ndim(atom.val) == 0 and bool(atom.val >= 0.0)
    source = operation.source(atom)
    if source is None:
        return False
    name = source.primitive.name
    if name in _SUMS_AND_SHAPES:
        return _cannot_be_negative(source.invars[0], operation)
    return name in _NEVER_NEGATIVE or (name == "integer_pow" and source.params["y"] % 2 == 0)


def _product(operation: _Operation) -> Any:
    """A number goes into another factor, a square or a sign, or first."""
    factor, other = _number_and_other(operation)
    if factor is None:
        return None
    if factor == -1.0:
        return operation.like(neg_p, other)
    # 2 (3 x), 2 (-x)
    if inner := operation.maker(other, "mul"):
        second, last = operation.number(inner.invars[0]), inner.invars[1]
        literal = None if second is None else operation.literal(factor * second)
        if literal and _same(last.aval, operation.out):
            return operation.like(mul_p, literal, last)
    if inner := operation.maker(other, "neg"):
        return operation.like(mul_p, operation.literal(-factor), *inner.invars)
    if made := _scaled_square(operation, factor, other):
        return made
    first = isinstance(operation.inputs[0], Literal)
    return None if first else operation.like(mul_p, operation.literal(factor), other)


def _number_and_other(operation: _Operation) -> tuple[float | None, Any]:
    """Return the number among two factors, and the other factor, which has the result's shape."""
    for factor, other in (operation.inputs, operation.inputs[::-1]):
        number = operation.number(factor)
        if number is None or operation.literal(number) is None or isinstance(other, Literal):
            continue
        if _same(other.aval, operation.out):
            return number, other
    return None, None


def _scaled_square(operation: _Operation, factor: float, other: Any) -> Any:
    """As in 2 (x / 3)^2."""
    square = operation.maker(other, "integer_pow")
    if square is None or square.params["y"] != 2:
        return None
    division = operation.maker(square.invars[0], "div")
    scale = division and operation.number(division.invars[1])
    if division is None or not scale or not 1 / _SQUARED <= abs(scale) <= _SQUARED:
        return None
    literal, whole = operation.literal(factor / scale**2), division.invars[0]
    if not literal or not _same(whole.aval, operation.out):
        return None
    squared = Made(square.primitive, (whole,), operation.out, square.params)
    return operation.like(mul_p, literal, squared)


def _negative(operation: _Operation) -> Any:
    """As in -(-x), -(2 x) and -(x - y)."""
    (taken,) = operation.inputs
    if inner := operation.maker(taken, "neg"):
        return inner.invars[0]
    if inner := operation.maker(taken, "mul"):
        factor = operation.number(inner.invars[0])
        literal = factor is not None and operation.literal(-factor)
        if literal and _same(inner.invars[1].aval, operation.out):
            return operation.like(mul_p, literal, inner.invars[1])
    if inner := operation.maker(taken, "sub"):
        return operation.like(sub_p, *inner.invars[::-1])
    return None


def _sum(operation: _Operation) -> Any:
    """As in x + (-y) and (-x) + y."""
    first, second = operation.inputs
    if inner := operation.maker(second, "neg"):
        return operation.like(sub_p, first, *inner.invars)
    if inner := operation.maker(first, "neg"):
        return operation.like(sub_p, second, *inner.invars)
    return None


def _outward(operation: _Operation) -> Any:
    """As in (-x) y and x / (-y): a sign goes where another may meet it."""
    for place, taken in enumerate(operation.inputs):
        if inner := operation.maker(taken, "neg"):
            inputs = [*operation.inputs[:place], *inner.invars, *operation.inputs[place + 1 :]]
            without = operation.like(operation.equation.primitive, *inputs)
            return operation.like(neg_p, without)
    return None


def _difference(operation: _Operation) -> Any:
    """As in x - (-y)."""
    first, second = operation.inputs
    inner = operation.maker(second, "neg")
    return inner and operation.like(add_p, first, *inner.invars)


def _quotient(operation: _Operation) -> Any:
    """As in x / exp(t), of whatever shape that has been given."""
    above, below = operation.inputs
    shaped = operation.maker(below, "broadcast_in_dim") or operation.maker(below, "reshape")
    power = operation.maker(shaped.invars[0] if shaped else below, "exp")
    if power is None:
        return None
    (exponent,), aval = power.invars, power.outvars[0].aval
    inverse = Made(power.primitive, (Made(neg_p, (exponent,), aval),), aval, power.params)
    if shaped:
        inverse = Made(shaped.primitive, (inverse,), below.aval, shaped.params)
    return operation.like(mul_p, above, inverse)


def _logarithm(operation: _Operation) -> Any:
    """As in log exp(t) and log (2 exp(t))."""
    (taken,) = operation.inputs
    if power := operation.maker(taken, "exp"):
        return power.invars[0]
    if product := operation.maker(taken, "mul"):
        first, second = product.invars
        factor, power = operation.number(first), operation.maker(second, "exp")
        if factor is not None and factor > 0.0 and power is not None:
            literal = operation.literal(math.log(factor))
            return literal and operation.like(add_p, *power.invars, literal)
    return None


def _total(operation: _Operation) -> Any:
    """The sum of one number, of a repeated one, of negative ones."""
    (taken,), out = operation.inputs, operation.out
    if out.shape == ():
        source = operation.source(taken)
        if source is not None and source.primitive.name in ("broadcast_in_dim", "reshape"):
            origin: Any = source.invars[0]
            if taken.aval.size == 1 and origin.aval.shape == ():
                return origin
        number = operation.number(taken)
        if number is not None and not isinstance(taken, Literal):
            return operation.literal(number * taken.aval.size)
    if inner := operation.maker(taken, "neg"):
        total = Made(reduce_sum_p, tuple(inner.invars), out, operation.equation.params)
        return operation.like(neg_p, total)
    return None


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
_NEUTRAL = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0, "max": -np.inf, "min": np.inf}

# Operations whose results are no less than zero, and those whose results are if what they take is.
_NEVER_NEGATIVE = ("abs", "exp", "logistic", "sqrt", "square")
_SUMS_AND_SHAPES = ("broadcast_in_dim", "reduce_sum", "reshape", "squeeze")

_OF_ALL_TYPES = (_unchanged, _first_power, _neutral, _positive)

# What is tried on an operation, in this order.
_RULES: dict[str, Sequence[Callable[[_Operation], Any]]] = {
    "abs": (_folded, _positive),
    "add": (_folded, _neutral, _sum),
    "add_any": (_sum,),
    "broadcast_in_dim": (_unchanged,),
    "convert_element_type": (_unchanged, _folded),
    "div": (_folded, _neutral, _outward, _quotient),
    "exp": (_folded,),
    "integer_pow": (_first_power,),
    "log": (_folded, _logarithm),
    "max": (_neutral,),
    "min": (_neutral,),
    "mul": (_folded, _neutral, _folded_everywhere, _product, _outward),
    "neg": (_folded, _folded_everywhere, _negative),
    "reduce_sum": (_unchanged, _total),
    "reshape": (_unchanged,),
    "sqrt": (_folded,),
    "squeeze": (_unchanged,),
    "sub": (_folded, _neutral, _difference),
}


def _same(first: Any, second: Any) -> bool:
    return first.shape == second.shape and first.dtype == second.dtype


def _is(atom: Any, value: float) -> bool:
    return isinstance(atom, Literal) and np.ndim(atom.val) == 0 and bool(atom.val == value)
