"""The parameters of a program: `numpyro.param` sites, fitted on an unconstrained scale.

A constraint may depend on another parameter, as in `constraints.less_than(total / 2)`. It is then
looked up in every step, by running the program, so that the bound moves with what it depends on.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpyro.distributions import biject_to, constraints
from numpyro.primitives import Messenger

from taut._core.errors import InputError, did_you_mean
from taut.checking.mistakes import constraint_problem
from taut.infer.traces import run_guide, run_model
from taut.targets.random_weights import has_drawn, is_drawn

BARE = "_taut_bare"
"""Marks messages of params that `Supplied` gave their value."""


@dataclasses.dataclass(frozen=True)
class ParamSite:
    """A parameter as a program declares it.

    Attributes:
        name: the site's name.
        constraint: its support; None if that depends on other parameters or on the data.
        bare: whether no program gives it a value to start from.
    """

    name: str
    constraint: Any
    bare: bool = False


def bijection_of(name: str, constraint: Any) -> Any:
    """Return the map from the unconstrained scale to a param's support.

    Raises:
        InputError: there is no such map.
    """
    problem = constraint_problem(name, constraint)
    if problem is not None:
        raise InputError(str(problem))
    try:
        return biject_to(constraint)
    except NotImplementedError:
        kind = type(constraint).__name__.lstrip("_").lower()
        raise InputError(
            f"param {name!r} has the constraint {kind!r}, which no smooth one-to-one map from R^n "
            "reaches; choose another, or map a real param to it yourself"
        ) from None


def constraint_of(site: dict) -> Any:
    """Return the constraint of a traced param site, `real` if none was given."""
    return site["kwargs"].get("constraint", constraints.real)


def read_param(site: dict) -> ParamSite:
    """Describe a traced param site.

    Raises:
        InputError: it has no value to start from.
    """
    if site["value"] is None:
        raise InputError(_BARE.format(name=site["name"]))
    constraint = constraint_of(site)
    moving = any(isinstance(leaf, Tracer) for leaf in jax.tree_util.tree_leaves(constraint))
    if not moving:
        bijection_of(site["name"], constraint)
    return ParamSite(site["name"], None if moving else constraint, BARE in site)


def initial_value(site: dict) -> Any:
    """Return a traced param's value on the unconstrained scale, in floating point."""
    value = jax.tree.map(_floating, site["value"])
    return bijection_of(site["name"], constraint_of(site)).inv(value)


def _floating(value: Any) -> Any:
    # A weakly typed number, such as 1.0, would make the second step compile anew.
    value = jnp.asarray(value)
    dtype = value.dtype if jnp.issubdtype(value.dtype, jnp.inexact) else jnp.result_type(float)
    return jax.lax.convert_element_type(value, dtype)


def constrain(
    sites: tuple[ParamSite, ...],
    raw: dict[str, Any],
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: dict,
) -> dict[str, Any]:
    """Map parameters from the unconstrained scale to their supports.

    Args:
        sites: all parameters.
        raw: their unconstrained values.
        model: run only if a constraint depends on something.
        guide: likewise.
        args: arguments of both.
        kwargs: keyword arguments of both.
    """
    if all(site.constraint is not None for site in sites):
        return {s.name: bijection_of(s.name, s.constraint)(raw[s.name]) for s in sites}
    taken: dict[str, Any] = {}
    key = jax.random.key(0)
    seen = run_guide(_Constrained(guide, raw, taken), key, {}, args, kwargs)
    run_model(_Constrained(model, raw, taken), key, seen, taken, args, kwargs)
    return {s.name: taken[s.name] for s in sites}


class _Constrained(Messenger):
    """Gives params their values, by the constraint that this run of the program states."""

    def __init__(self, fn: Callable, raw: dict[str, Any], taken: dict[str, Any]):
        super().__init__(fn)
        self._raw = raw
        self._taken = taken

    def process_message(self, msg: dict) -> None:
        name = msg.get("name")
        if msg["type"] != "param" or name not in self._raw:
            return
        if name not in self._taken:
            self._taken[name] = bijection_of(name, constraint_of(msg))(self._raw[name])
        msg["value"] = self._taken[name]


class Opaque(Messenger):
    """Makes what a program computes from a param depend on `one`, a traced number 1.

    So a constraint made from a param can be told from a constant one.

    Attributes:
        handed: the values that the program goes on with, by param.
    """

    def __init__(self, fn: Callable, one: Any):
        super().__init__(fn)
        self._one = one
        self.handed: dict[str, Any] = {}

    def postprocess_message(self, msg: dict) -> None:
        """Multiply the value that the program goes on with; the trace keeps the original."""
        if msg["type"] == "param":
            msg["value"] = jax.tree.map(self._times_one, msg["value"])
            self.handed[msg["name"]] = msg["value"]

    def _times_one(self, value: Any) -> Any:
        value = jnp.asarray(value)
        return value * self._one.astype(value.dtype)


class Supplied(Messenger):
    """Gives params that a program names without a value, `numpyro.param("b")`, those of the user.

    Args:
        fn: the program.
        values: the user's values, `init_params`.
    """

    def __init__(self, fn: Callable, values: dict[str, Any]):
        super().__init__(fn)
        self._values = values

    def process_message(self, msg: dict) -> None:
        """Put a value where there is none; what another program says of the param comes first."""
        if msg["type"] != "param" or msg["value"] is not None or msg["args"] != (None,):
            return
        if msg["name"] in self._values:
            msg["value"] = jax.tree.map(_floating, self._values[msg["name"]])
            msg[BARE] = True


_BARE = (
    "param {name!r} has no value to start from; write numpyro.param({name!r}, value), or pass "
    "init_params={{{name!r}: value}}"
)


def check_started(sites: tuple[ParamSite, ...], params: dict[str, Any] | None) -> None:
    """Refuse to start params that neither a program nor the user gives a value.

    Raises:
        InputError: names them.
    """
    problems = [_BARE.format(name=s.name) for s in sites if s.bare and s.name not in (params or {})]
    if problems:
        raise InputError(problems)


def initial_params(params: dict[str, Any] | None, sites: dict[str, Any]) -> list[str]:
    """Say what is wrong with a user's initial values, given the params and their shapes."""
    problems = []
    for name, value in (params or {}).items():
        if name not in sites:
            problems.append(
                f"init_params has {name!r}, which is no param of model or guide"
                f"{did_you_mean(name, sites)}; they have {[*sites]}"
            )
            continue
        given = jax.tree.map(lambda v: tuple(np.shape(v)), value)
        expected = jax.tree.map(lambda v: tuple(v.shape), sites[name])
        if given != expected:
            problems.append(f"init_params[{name!r}] has shape {given}; the param has {expected}")
    return problems


class StartAt(Messenger):
    """Starts params at given values instead of their own.

    Which of them are given is data too, so that one compiled start serves a run with any of them.
    Entered outside the handler that records the run, which then records the values chosen.

    Args:
        given: for each param whether it is given, and its value; absent ones are not given.
    """

    def __init__(self, given: dict[str, tuple[Any, Any]]):
        super().__init__()
        self._given = given

    def postprocess_message(self, msg: dict) -> None:
        """Choose between a param's own value and the one given."""
        if msg["type"] != "param" or msg["name"] not in self._given:
            return
        chosen, value = self._given[msg["name"]]
        if msg["value"] is None:
            # `numpyro.module` asks first, and makes its params if there are none.
            msg["value"] = jax.tree.map(_floating, value) if chosen is True else None
            return

        def choose(own: Any, other: Any) -> Any:
            own = _floating(own)
            return jnp.where(chosen, jnp.asarray(other, own.dtype), own)

        if has_drawn(value):
            _replace(msg["value"], value, choose)
        else:
            msg["value"] = jax.tree.map(choose, msg["value"], value)


def _replace(own: dict, given: dict, choose: Callable[[Any, Any], Any]) -> None:
    """Put values into a network's own weights, but for those that it is going to draw.

    In place: the network marks what it draws in this dictionary, which must be the one recorded.
    """
    for name, value in given.items():
        if isinstance(value, dict):
            _replace(own[name], value, choose)
        elif not is_drawn(value):
            own[name] = choose(own[name], value)


def shapes_of(value: Any, handed: Any) -> Any:
    """Return the shapes of a param, with a mark where the program draws the weight.

    Args:
        value: what the trace recorded; some networks mark what they draw here,
        handed: and some in what `Opaque` handed them.
    """

    def shape(own: Any, other: Any) -> Any:
        drawn = [v for v in (own, other) if is_drawn(v)]
        return drawn[0] if drawn else jax.ShapeDtypeStruct(jnp.shape(own), jnp.result_type(own))

    return jax.tree.map(shape, value, handed, is_leaf=is_drawn)


def all_given(params: dict[str, Any] | None, shapes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what `StartAt` takes, with an entry for every param; zeros where none is given."""
    params = params or {}

    def fixed(shape: Any, value: Any = 0.0) -> Any:
        # Of one type, or numbers written in another way would compile anew.
        floating = jnp.issubdtype(shape.dtype, jnp.inexact)
        dtype = shape.dtype if floating else jnp.result_type(float)
        return np.broadcast_to(np.asarray(value, dtype), shape.shape)

    return {
        name: (np.bool_(name in params), jax.tree.map(fixed, shape, *given))
        for name, shape in shapes.items()
        for given in [[params[name]] if name in params else []]
    }
