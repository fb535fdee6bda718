"""A fit as an ArviZ tree: draws, log densities, data, and what they are.

ArviZ expects chains. There are none here: the draws come from a fitted distribution and do not
depend on their order, so they are stored as a single `chain` of length one, and the attributes say
that a comparison between chains (R-hat) has no meaning.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError, MissingExtraError, did_you_mean, first_few

DRAWS_ARE = (
    "The draws come from a distribution fitted by variational inference, corrected by importance "
    "weights where the trust says so. They are not a Markov chain: the chain dimension has length "
    "one only because ArviZ expects it, and R-hat has no meaning."
)


def to_arviz(
    posterior: Mapping[str, np.ndarray],
    sample_stats: Mapping[str, np.ndarray],
    observed: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> Any:
    """Return an xarray DataTree with the groups that ArviZ knows, ready for `.to_netcdf`.

    Args:
        posterior: draws of shape (draws, *site shape) by site.
        sample_stats: arrays of shape (draws, ...), such as log_p, log_q and weights.
        observed: the observed sites' data.
        attributes: what to record: trust, version, seed, guide. Values that NetCDF cannot hold
            are written as JSON.
        dims: names of a site's own dimensions, without chain and draw.
        coords: values along named dimensions.

    Names with a slash, as NumPyro's `scope` makes them, get a dot instead: NetCDF reads a slash as
    a group. The attribute `renamed_sites` then maps the new names to the model's.

    Raises:
        MissingExtraError: arviz-base is not installed.
        InputError: dims for an unknown site, too many or too few of them, coords of another length,
            or two sites with one name once slashes are replaced.
    """
    try:
        import arviz_base
    except ImportError:
        raise MissingExtraError("arviz-base", "arviz") from None
    stats = {name: np.asarray(array) for name, array in sample_stats.items()}
    draws = {name: _numeric(np.asarray(array)) for name, array in posterior.items()}
    data = {name: np.asarray(array) for name, array in observed.items()}
    shapes = {name: array.shape for name, array in data.items()}
    shapes |= {name: array.shape[1:] for name, array in draws.items()}
    axes = {name: list(names) for name, names in (dims or {}).items()}
    _check_dims(shapes, axes, coords or {})
    new = _storable_names(list(shapes))
    recorded = {name: _storable(value) for name, value in attributes.items()}
    recorded |= {"inference": "variational", "draws": DRAWS_ARE}
    renamed = {name: old for old, name in new.items() if name != old}
    if renamed:
        recorded["renamed_sites"] = json.dumps(renamed)
    groups = {
        "posterior": {new[name]: array[None] for name, array in draws.items()},
        "sample_stats": {name: array[None] for name, array in stats.items()},
        "observed_data": {new[name]: array for name, array in data.items()},
    }
    groups = {group: arrays for group, arrays in groups.items() if arrays}
    return arviz_base.from_dict(
        groups,
        dims={new[name]: names for name, names in axes.items()},
        coords=dict(coords) if coords else None,
        attrs={"/": recorded, **{group: recorded for group in groups}},
    )


def _check_dims(
    shapes: Mapping[str, tuple[int, ...]],
    dims: Mapping[str, list[str]],
    coords: Mapping[str, Any],
) -> None:
    problems = []
    lengths: dict[str, int] = {}
    for site, names in dims.items():
        if site not in shapes:
            hint = did_you_mean(site, shapes)
            problems.append(f"dims: no site is called {site!r}{hint}; there are {_few(shapes)}")
        elif len(names) != len(shapes[site]):
            problems.append(
                f"dims: site {site!r} has shape {shapes[site]}, so it takes {len(shapes[site])} "
                f"names, not {len(names)} ({names}); leave out the axis of draws"
            )
        else:
            lengths |= dict(zip(names, shapes[site], strict=True))
    for name, values in coords.items():
        if name not in lengths:
            continue  # ArviZ also accepts coords of its default dimensions
        if len(values) != lengths[name]:
            problems.append(
                f"coords: {name!r} has {len(values)} values, but its dimension has length "
                f"{lengths[name]}; give one value for each"
            )
    if problems:
        raise InputError(problems)


def _storable_names(names: list[str]) -> dict[str, str]:
    new = {name: name.replace("/", ".") for name in names}
    clashes = [n for n in new if "/" in n and list(new.values()).count(new[n]) > 1]
    if clashes:
        raise InputError(
            f"with dots for slashes, as NetCDF needs, {_few(clashes)} would have the name of "
            "another site; rename one of them in the model"
        )
    return new


def _numeric(array: np.ndarray) -> np.ndarray:
    """Return flags as 0 and 1, because ArviZ takes means and quantiles of every site."""
    return array.astype(np.int8) if array.dtype == bool else array


def _storable(value: Any) -> str | int | float:
    """Return an attribute as NetCDF can hold it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value, default=str)


def _few(names: Any) -> str:
    return first_few([repr(name) for name in names])
