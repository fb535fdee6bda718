"""A model's arguments, split into data that may change and values that must be concrete.

Arrays and Python floats are *leaves*: they enter compiled programs as inputs, so new data of the
same shapes compiles nothing. Everything else (strings, flags, Python integers, functions) is
*static*: part of the program's identity. A model may also need an array to be concrete, as in
`len(np.unique(index))`; such arguments are found when the model is traced and join the static ones.
"""

import dataclasses
import inspect
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.errors import InputError, did_you_mean, first_few
from taut._core.fingerprint import array_key, contents
from taut._core.random_keys import is_random_key


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments bound to a model, flattened.

    Attributes:
        names: where each flattened value came from, such as "x" or "data['y'][0]".
        values: the flattened values; leaves are NumPy or JAX arrays.
        is_leaf: which of them are data leaves.
        structure: rebuilds (args, kwargs) from the values.
    """

    names: tuple[str, ...]
    values: tuple[Any, ...]
    is_leaf: tuple[bool, ...]
    structure: Any

    @property
    def leaves(self) -> tuple[Any, ...]:
        """The data leaves, in order."""
        return tuple(v for v, leaf in zip(self.values, self.is_leaf, strict=True) if leaf)

    @property
    def leaf_names(self) -> tuple[str, ...]:
        """The name of each data leaf."""
        return tuple(n for n, leaf in zip(self.names, self.is_leaf, strict=True) if leaf)

    def rebuild(self, leaves: Iterable[Any]) -> tuple[tuple, dict]:
        """Return (args, kwargs) with these leaves in place of the data."""
        return jax.tree_util.tree_unflatten(self.structure, self.with_data(leaves).values)

    def hold_static(self, names: Iterable[str]) -> "Arguments":
        """Return the same arguments with the named leaves held concrete."""
        held = set(names)
        flags = tuple(
            leaf and n not in held for n, leaf in zip(self.names, self.is_leaf, strict=True)
        )
        return dataclasses.replace(self, is_leaf=flags)

    def static_arrays(self) -> tuple[str, ...]:
        """Return the names of the arrays that are held static."""
        arrays = zip(self.names, self.values, self.is_leaf, strict=True)
        return tuple(n for n, v, leaf in arrays if not leaf and hasattr(v, "dtype"))

    def without_data(self) -> "Arguments":
        """Return the structure alone, so that keeping it does not keep the data in memory."""
        values = tuple(
            None if leaf else v for v, leaf in zip(self.values, self.is_leaf, strict=True)
        )
        return dataclasses.replace(self, values=values)

    def with_data(self, leaves: Iterable[Any]) -> "Arguments":
        """Return the same structure with these data leaves."""
        incoming = iter(leaves)
        values = tuple(
            next(incoming) if leaf else v for v, leaf in zip(self.values, self.is_leaf, strict=True)
        )
        return dataclasses.replace(self, values=values)

    def key(self) -> Hashable:
        """Return what a compiled program depends on: structure, static values, leaf shapes."""
        parts = []
        for value, leaf in zip(self.values, self.is_leaf, strict=True):
            if leaf:
                shape = traced_shape(value)
                parts.append((shape.shape, str(shape.dtype)))
            else:
                parts.append(_static_key(value))
        return (self.structure, self.is_leaf, tuple(parts))


def traced_shape(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and the type that a data leaf has in a compiled program."""
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(np.shape(leaf), dtype)


def bind_arguments(model: Callable, args: tuple, kwargs: dict) -> Arguments:
    """Check that a model takes these arguments and flatten them.

    Raises:
        InputError: an argument the model does not take, a required one that is missing, or an array
            of which some values are masked.
    """
    arguments = flatten_arguments(model, args, kwargs)
    if problems := call_problems(model, args, kwargs, arguments):
        raise InputError(problems)
    return arguments


def flatten_arguments(model: Callable, args: tuple, kwargs: dict) -> Arguments:
    """Flatten arguments, whether or not the model takes them."""
    if not _takes_any_name(model):  # which it gets by name, in whatever order
        kwargs = dict(sorted(kwargs.items()))
    flat, structure = jax.tree_util.tree_flatten_with_path(
        _in_order((args, kwargs)), is_leaf=lambda v: v is None
    )
    positions = _positional_names(model)
    names = tuple(_name(path, positions) for path, _ in flat)
    values = tuple(value for _, value in flat)
    return Arguments(names, values, tuple(_is_data(v) for v in values), structure)


def call_problems(model: Callable, args: tuple, kwargs: dict, arguments: Arguments) -> list[str]:
    """Say why a model cannot be called with these arguments, given flattened as well."""
    values = zip(arguments.names, arguments.values, strict=True)
    masked = [_masked(name, value) for name, value in values if np.ma.is_masked(value)]
    return [*_signature_problems(model, args, kwargs), *masked]


def _masked(name: str, values: np.ma.MaskedArray) -> str:
    where = np.argwhere(np.ma.getmaskarray(values))
    return (
        f"argument {name!r} is a masked array, of which {len(where)} of {values.size} values are "
        f"masked, the first at {tuple(where[0].tolist())}; leave these rows out, or pass values "
        "and mask and use numpyro.handlers.mask in the model"
    )


_TIMES = {
    "M": "dates; write (t - t[0]) / np.timedelta64(1, 'D')",
    "m": "lengths of time; write t / np.timedelta64(1, 'D')",
}


def not_numbers(arguments: Arguments) -> list[str]:
    """Say which arguments are arrays of something else than numbers."""
    return [
        f"argument {name!r} holds {what}"
        for name, value in zip(arguments.names, arguments.values, strict=True)
        if isinstance(value, np.ndarray) and (what := text_in(value))
    ]


def text_in(values: np.ndarray) -> str:
    """Say what an array holds, if it is no numbers; an empty string otherwise."""
    if values.dtype.kind in _TIMES:
        return f"no numbers but {_TIMES[values.dtype.kind]} for days"
    if values.dtype.kind not in "USO" or values.size == 0:
        return ""
    others = [v for v in values.ravel().tolist() if not isinstance(v, float | int | np.number)]
    if not others:
        return "numbers as Python objects; use .astype(float)"
    return f"no numbers but {type(others[0]).__name__}, such as {others[0]!r}"


def tables(model: Callable, args: tuple, kwargs: dict) -> list[str]:
    """Say which arguments are tables, that reach the model without the names of their columns."""
    given = {**dict(zip(_positional_names(model), args, strict=False)), **kwargs}
    return [
        f"argument {name!r} is a table of columns {first_few([repr(c) for c in value.columns])}, "
        "and reaches the model as a matrix, without their names; pass columns, each as an argument"
        for name, value in given.items()
        if _is_table_column(value) and hasattr(value, "columns")
    ]


def _signature_problems(model: Callable, args: tuple, kwargs: dict) -> list[str]:
    try:
        signature = inspect.signature(model)
    except (TypeError, ValueError):  # a callable without a readable signature
        return []
    try:
        signature.bind(*args, **kwargs)
        return []
    except TypeError as error:
        reason = str(error)
    label = getattr(model, "__name__", type(model).__name__)
    parameters = signature.parameters
    problems = []
    for name in kwargs:
        if name not in parameters:
            problems.append(
                f"the model takes no argument {name!r}{did_you_mean(name, parameters)}; "
                f"its signature is {label}{signature}"
            )
    if not problems:
        problems.append(
            f"the model cannot be called so: {reason}; its signature is {label}{signature}"
        )
    return problems


def _positional_names(model: Callable) -> list[str]:
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds]


def _takes_any_name(model: Callable) -> bool:
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


class _Dict(dict):
    """A dictionary that JAX takes apart as it is, and puts together as a plain one.

    JAX sorts the keys of plain ones, and a model may go through them in the order they came in.
    """


@dataclasses.dataclass(frozen=True)
class _Key:
    """A key of a dictionary, of any type, in the name of a value."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"


def _plain(keys: Any, values: Any) -> Any:
    return dict(zip(keys, values, strict=True))


jax.tree_util.register_pytree_with_keys(
    _Dict,
    lambda d: ([(_Key(k), v) for k, v in d.items()], tuple(d)),
    _plain,
    lambda d: (tuple(d.values()), tuple(d)),
)


def _in_order(tree: Any) -> Any:
    """Return a tree of values fit to be flattened, whose plain dictionaries keep their order."""

    def kept(value: Any) -> Any:
        if type(value) is dict:
            return _Dict((key, _in_order(item)) for key, item in value.items())
        return _as_value(value)

    def is_whole(value: Any) -> bool:
        return type(value) is dict or _is_number_list(value) or _is_table_column(value)

    return jax.tree_util.tree_map(kept, tree, is_leaf=is_whole)


def _name(path: tuple, positions: list[str]) -> str:
    # path[0] chooses args or kwargs, path[1] the argument, the rest is inside it.
    index = path[1].idx if path[0].idx == 0 else None
    if index is None:
        head = path[1].key
    else:
        head = positions[index] if index < len(positions) else f"argument {index + 1}"
    return head + jax.tree_util.keystr(path[2:])


def _is_number_list(value: Any) -> bool:
    # [1.0, 2.0] is data written by hand; a tuple of integers may be a shape, so it is left alone.
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(v, (int, float, np.number)) or _is_number_list(v) for v in value)


def _is_table_column(value: Any) -> bool:
    # pandas, polars and xarray columns, without importing any of them. Containers that JAX knows,
    # such as the weights of a network, may look like arrays too; they are left as they are.
    return (
        hasattr(value, "__array__")
        and not isinstance(value, (np.ndarray, np.generic, jax.Array))
        and jax.tree_util.all_leaves([value])
    )


def _as_value(value: Any) -> Any:
    if _is_number_list(value):
        try:
            return np.asarray(value)
        except ValueError:
            return value
    if _is_table_column(value):
        return _native(np.asarray(value))
    if isinstance(value, np.ma.MaskedArray) and not np.ma.is_masked(value):
        return _native(value.data)  # nothing is masked, as in the columns of a table read whole
    if isinstance(value, np.ndarray):
        return _native(value)
    if isinstance(value, (float, np.floating)):
        return np.asarray(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    return value


def _native(values: np.ndarray) -> np.ndarray:
    """Return an array in this machine's byte order; tables in FITS files come in the other."""
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _is_data(value: Any) -> bool:
    if not isinstance(value, (np.ndarray, jax.Array)):
        return False
    number = jnp.issubdtype(value.dtype, np.number) or value.dtype == np.bool_
    return number or is_random_key(value)


def _static_key(value: Any) -> Hashable:
    if isinstance(value, (np.ndarray, jax.Array)) and value.dtype != object:
        return array_key(value)
    if isinstance(value, (int, float, complex, str, bytes, bool, type(None))):
        return (type(value).__name__, value)
    return contents(value)
