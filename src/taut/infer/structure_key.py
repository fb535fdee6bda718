"""When two optimisers, objectives or autoguides are the same, so that one program serves both.

`Adam(1e-3)` written twice makes two objects that compute the same. What they compute is in the code
of their functions and in the values these have closed over; a key is made of both. An autoguide is
told by its class, its model and its options; what it has learned of data is left out.
"""

import functools
import types
from collections.abc import Hashable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from taut._core.fingerprint import Identity, array_key, closed_over
from taut.infer.autoguide.guide import AutoGuide

_CONSTANTS = (int, float, complex, str, bytes, bool, type(None))
# Their code does not change while a program runs, so its identity says what it does.
_LIBRARIES = frozenset({"functools", "jax", "numpyro", "optax", "taut"})


def structure_key(thing: Any) -> Hashable:
    """Return a key that is equal for things that compute the same.

    Functions and objects from outside the libraries known to be constant are equal only to
    themselves.
    """
    return _key(thing, {})


def _key(thing: Any, seen: dict[int, tuple[int, Any]]) -> Hashable:
    if isinstance(thing, _CONSTANTS):
        return (type(thing).__name__, thing)
    if isinstance(thing, (np.ndarray, jax.Array)) and not _opaque(thing):
        return array_key(thing)
    if id(thing) in seen:
        return ("seen", seen[id(thing)][0])
    # Kept alive, so that its id is not given to another.
    seen[id(thing)] = (len(seen), thing)
    if isinstance(thing, (tuple, list)):
        return (type(thing), tuple(_key(item, seen) for item in thing))
    if isinstance(thing, dict):
        return ("dict", tuple((repr(k), _key(v, seen)) for k, v in thing.items()))
    if isinstance(thing, functools.partial):
        return ("partial", *(_key(p, seen) for p in (thing.func, thing.args, thing.keywords)))
    if isinstance(thing, types.FunctionType):
        return _function_key(thing, seen)
    if isinstance(thing, types.MethodType):
        return ("method", _key(thing.__func__, seen), _key(thing.__self__, seen))
    if isinstance(thing, (type, types.BuiltinFunctionType)) or not _constant(type(thing)):
        return Identity(thing)
    state = thing.options() if isinstance(thing, AutoGuide) else getattr(thing, "__dict__", {})
    return (type(thing), _key(state, seen))


def _function_key(function: types.FunctionType, seen: dict[int, tuple[int, Any]]) -> Hashable:
    if not _constant(function):
        return Identity(function)
    cells = closed_over(function)
    defaults = (function.__defaults__, function.__kwdefaults__)
    return ("function", Identity(function.__code__), _key(cells, seen), _key(defaults, seen))


def _constant(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "").split(".")[0] in _LIBRARIES


def _opaque(array: Any) -> bool:
    return array.dtype == object or isinstance(array, Tracer)
