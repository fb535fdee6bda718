"""What a Python function depends on besides its arguments.

A compiled program is kept for a model function and reused for new data. That is only right while
nothing else the function reads has changed: a global constant edited in a notebook must not be
served from an old program. The fingerprint covers closure cells, defaults and the globals that the
function's code names, followed through functions, containers, the attributes of objects, the
classes a user has written and the named constants of modules. It is taken again after each run of
the function, so that a function which changes what it reads (one that counts its calls, say) does
not look changed by that, to whichever part of the library watches it.
"""

import abc
import collections
import contextlib
import functools
import hashlib
import itertools
import pathlib
import sys
import threading
import types
import weakref
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import Any

import jax
import numpy as np
from numpyro.primitives import Messenger

from taut._core.random_keys import as_numbers

_SCALARS = (int, float, complex, str, bytes, bool, type(None))
_LIBRARIES = {"builtins", "jax", "jaxlib", "math", "numpy", "numpyro", "pandas", "scipy", "taut"}
# In a test, `assert` reads pytest, whose objects change and may refuse to be asked for attributes.
_LIBRARIES |= {"_pytest", "pytest"}


class Identity:
    """A hashable handle that keeps its object alive, so that an id is never reused."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any):
        self.thing = thing

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.thing is other.thing


class Learner(abc.ABC):
    """An object that learns from data; what it has learned is not what a program depends on."""

    @abc.abstractmethod
    def options(self) -> dict[str, Any]:
        """Return all that makes this object what it is; nothing that it has learned of data."""


def identity(function: Callable) -> Hashable:
    """Return a key that is the same for the same function, whatever it reads."""
    if isinstance(function, types.MethodType):
        return ("method", identity(function.__func__), Identity(function.__self__))
    if isinstance(function, functools.partial):
        bound = (*function.args, *function.keywords.values())
        values = tuple(_describe(value, set()) for value in bound)
        return ("partial", identity(function.func), tuple(function.keywords), values)
    return Identity(function)


def fingerprint(function: Callable) -> Hashable:
    """Return a key that changes when what the function reads changes."""
    return _describe(function, set())


class _Objects:
    """Counts the changes of what objects hold, other than by running a user's function.

    Args:
        capacity: how many objects are remembered; one that returns later counts as changed.
    """

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._seen: collections.OrderedDict[int, tuple[Identity, Hashable, int]]
        self._seen = collections.OrderedDict()
        self._versions = itertools.count()
        self._lock = threading.RLock()

    def key(self, thing: Any) -> Hashable:
        """Return a key of an object that changes when what it holds changes."""
        with self._lock:
            before, now = self._seen.pop(id(thing), None), self._describe(thing)
            if before is None or before[1] != now:
                before = Identity(thing), now, next(self._versions)
            self._seen[id(thing)] = before
            if len(self._seen) > self._capacity:
                self._seen.popitem(last=False)
            return before[0], before[2]

    def notice(self) -> None:
        """Look at all objects for what the user has changed."""
        with self._lock:
            for identity, _, _ in list(self._seen.values()):
                self.key(identity.thing)

    def excuse(self) -> None:
        """Take what has changed since for unchanged."""
        with self._lock:
            for place, (identity, _, version) in list(self._seen.items()):
                self._seen[place] = identity, self._describe(identity.thing), version

    @staticmethod
    def _describe(thing: Any) -> Hashable:
        try:
            return _describe(thing, set())
        except RuntimeError:
            # Nested too deeply, or changed by another thread meanwhile.
            return None


_OBJECTS = _Objects(32)


def contents(thing: Any) -> Hashable:
    """Return a key of an object that changes when the user changes what it holds."""
    return _OBJECTS.key(thing)


class Watch:
    """Notices when what a function reads has changed, other than by running the function."""

    def __init__(self, function: Callable):
        self._function = function
        self._seen = fingerprint(function)
        self._changes = 0
        self._roots = frozenset(_roots(function))
        with _LOCK:
            _WATCHES.add(self)

    def changes(self) -> int:
        """Return how often a look at what the function reads found it changed."""
        seen = fingerprint(self._function)
        if seen != self._seen:
            self._seen = seen
            self._changes += 1
        return self._changes

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Take what runs of the function change inside for unchanged, in every watch of it."""
        with _LOCK:
            related = [watch for watch in _WATCHES if watch._roots & self._roots]
        for watch in related:
            # What the user has changed before must still be noticed.
            watch.changes()
        _OBJECTS.notice()
        try:
            yield
        finally:
            _OBJECTS.excuse()
            for watch in related:
                watch._seen = fingerprint(watch._function)


_WATCHES: weakref.WeakSet[Watch] = weakref.WeakSet()
_LOCK = threading.Lock()


def _roots(function: Any) -> list[int]:
    """Return the ids of the innermost functions of a program, or of several."""
    if isinstance(function, tuple):
        return [root for part in function for root in _roots(part)]
    if isinstance(function, types.MethodType):
        return [id(function.__func__)]
    for name in ("func", "fn", "model"):  # of a partial, of a NumPyro handler, of an autoguide
        inner = getattr(function, name, None)
        if callable(inner):
            return _roots(inner)
    return [id(function)]


class _Unbound:
    """Stands for what a function closes over under a name that has no value yet."""


UNBOUND = _Unbound()


def closed_over(function: types.FunctionType) -> list[Any]:
    """Return the values that a function closes over, `UNBOUND` where there is none."""
    values = []
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:
            values.append(UNBOUND)
    return values


def array_key(array: Any) -> Hashable:
    """Return a key of the contents of an array, of NumPy or JAX; of numbers or of random keys."""
    data = np.ascontiguousarray(as_numbers(array))
    digest = hashlib.blake2b(data.tobytes(), digest_size=16).digest()
    # The type of random keys names their generator.
    return (str(array.dtype), array.shape, digest)


def _describe(thing: Any, seen: set[Hashable], names: Collection[str] = ()) -> Hashable:
    if isinstance(thing, _SCALARS):
        return (type(thing).__name__, repr(thing))
    if id(thing) in seen:
        return ("seen", _describe_classes(type(thing), seen, names))
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        return array_key(thing)
    if isinstance(thing, jax.Array):
        return Identity(thing)  # it cannot change, but for what it keeps of its value
    if isinstance(thing, types.ModuleType):
        # Not marked as seen: another function may name other things in it.
        values = vars(thing)
        return tuple((n, _describe(values[n], seen)) for n in names if n in values)
    if isinstance(thing, type):
        return (Identity(thing), _describe_classes(thing, seen, ["__init__", *names]))
    seen.add(id(thing))
    if isinstance(thing, types.FunctionType):
        return _describe_function(thing, seen)
    if isinstance(thing, types.MethodType):
        called = _names(code) if (code := getattr(thing.__func__, "__code__", None)) else ()
        return ("method", _describe(thing.__func__, seen), _describe(thing.__self__, seen, called))
    if isinstance(thing, functools.partial):
        parts = (thing.func, *thing.args, *(v for _, v in sorted(thing.keywords.items())))
        return ("partial", tuple(thing.keywords), tuple(_describe(p, seen) for p in parts))
    if isinstance(thing, (list, tuple)):
        return (type(thing).__name__, tuple(_describe(x, seen, names) for x in thing))
    if isinstance(thing, dict):
        items = tuple((repr(k), _describe(v, seen, names)) for k, v in thing.items())
        return ("dict", items)
    if isinstance(thing, (set, frozenset)):
        return (type(thing).__name__, frozenset(_describe(x, seen, names) for x in thing))
    return _describe_object(thing, seen, names)


def _describe_object(thing: Any, seen: set[Hashable], names: Collection[str]) -> Hashable:
    parts: list[Hashable] = [Identity(thing)]
    kind = type(thing)
    if _is_library(kind):
        # One of NumPyro's handlers may be around the user's program.
        return (parts[0], _describe(thing.fn, seen)) if isinstance(thing, Messenger) else parts[0]
    if isinstance(thing, Learner):
        attributes = thing.options().items()
        names = [name for written in _written_here(kind) for name in vars(written)]
    else:
        attributes = _attributes(thing)
    parts.extend((name, _describe(value, seen, names)) for name, value in attributes)
    call = vars(kind).get("__call__")
    if isinstance(call, types.FunctionType):
        parts.append(_describe(call, seen))
    return (*parts, _describe_classes(kind, seen, ["__call__", *names]))


def _describe_classes(kind: type, seen: set[Hashable], names: Collection[str]) -> Hashable:
    """Describe attributes of a class that a user has written: those named, and what they name."""
    parts: list[Hashable] = []
    classes, pending = _written_here(kind), list(names)
    while classes and pending:
        name = pending.pop()
        for written in classes:
            if name not in vars(written) or (id(written), name) in seen:
                continue
            seen.add((id(written), name))
            value = vars(written)[name]
            # The function inside a property, a class method or a static method.
            inner = getattr(value, "fget", getattr(value, "__func__", value))
            parts.append((name, _describe(inner, seen, names)))
            if isinstance(inner, types.FunctionType):
                pending += _names(inner.__code__)
    return tuple(parts)


def _written_here(kind: type) -> list[type]:
    """Return a class and its bases, without those of libraries and installed packages."""
    return [base for base in kind.__mro__ if _is_written_here(base.__module__)]


@functools.cache
def _is_written_here(module: str) -> bool:
    """Whether a module is a user's own: no library, and not installed."""
    if _root(module) in _LIBRARIES or _root(module) in sys.stdlib_module_names - {"__main__"}:
        return False
    path = getattr(sys.modules.get(module), "__file__", None) or ""
    return not {"site-packages", "dist-packages"} & set(pathlib.Path(path).parts)


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, in its dictionary and in the slots of its classes."""
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        # Those of the standard library are caches, as in pathlib.
        if "__slots__" not in vars(kind) or _root(kind.__module__) in sys.stdlib_module_names:
            continue
        for name, slot in vars(kind).items():
            if isinstance(slot, types.MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # not set
                    yield name, slot.__get__(thing)


def _describe_function(function: types.FunctionType, seen: set[Hashable]) -> Hashable:
    parts: list[Hashable] = [Identity(function.__code__)]
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        parts.append(_describe(default, seen))
    names = _names(function.__code__)
    for value in closed_over(function):
        if value is UNBOUND or not _is_library(value):
            parts.append(_describe(value, seen, names))
    for name in names:
        value = function.__globals__.get(name)
        if not _is_library(value):
            parts.append((name, _describe(value, seen, names)))
    return tuple(parts)


def _names(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.extend(_names(constant))
    return names


def _is_library(value: Any) -> bool:
    if isinstance(value, types.ModuleType):
        module = value.__name__
    elif hasattr(value, "dtype"):  # an array is data, whichever library made it
        return False
    else:
        module = getattr(value, "__module__", None) or ""
    return _root(module) in _LIBRARIES


def _root(module: str) -> str:
    return module.split(".")[0]
