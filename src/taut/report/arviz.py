"""A fit as an ArviZ tree: draws, log densities, data, and what they are.

ArviZ expects a few long chains. There are none here: the draws are independent, or the states of
hundreds of short chains, so they are stored as a single `chain`, and R-hat has no meaning.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from taut._core.errors import InputError, MissingExtraError, did_you_mean, first_few

Groups = Mapping[str, Mapping[str, np.ndarray]]

DATA_GROUPS = ("observed_data", "constant_data")


def to_arviz(
    groups: Groups,
    attributes: Mapping[str, Any],
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
    plates: Mapping[str, Sequence[str | None]] | None = None,
) -> Any:
    """Return an xarray DataTree with the groups that ArviZ knows, ready for `.to_netcdf`.

    Args:
        groups: arrays by name, by group: of shape (draws, *site shape) in "posterior",
            "posterior_predictive", "log_likelihood", "sample_stats", "prior" and
            "prior_predictive", of the data's shape in "observed_data" and "constant_data". Empty
            groups are left out.
        attributes: what to record: trust, version, seed, guide, what the draws are. Values
            that NetCDF cannot hold are written as JSON.
        dims: names of a site's own dimensions, without chain and draw.
        coords: values along named dimensions.
        plates: where `dims` says nothing, the plate along each axis of a site, None where there is
            none. An array with fewer axes, as log likelihoods of vectors have, gets the first.

    Names with a slash, as NumPyro's `scope` makes them, get a dot instead: NetCDF reads a slash as
    a group. The attribute `renamed_sites` then maps the new names to the model's.

    Raises:
        MissingExtraError: arviz-base is not installed.
        InputError: dims for an unknown site, too many or too few of them, coords of another length,
            or two sites with one name once slashes are replaced.
    """
    try:
        import arviz_base
        import xarray
    except ImportError:
        raise MissingExtraError("arviz-base", "arviz") from None
    arrays = {
        group: {name: _numeric(np.asarray(array)) for name, array in members.items()}
        for group, members in groups.items()
        if members
    }
    axes = {name: list(names) for name, names in (dims or {}).items()}
    _check_dims(_site_shapes(arrays), axes, coords or {})
    new = _storable_names([*dict.fromkeys(n for members in arrays.values() for n in members)])
    recorded = {name: _storable(value) for name, value in attributes.items()}
    recorded["inference"] = "variational"
    renamed = {name: old for old, name in new.items() if name != old}
    if renamed:
        recorded["renamed_sites"] = json.dumps(renamed)
    taken = {*new.values(), "chain", "draw"}
    datasets = {}
    for group, members in arrays.items():
        drawn = group not in DATA_GROUPS
        named, used = {}, {}
        for name, array in members.items():
            rank = array.ndim - drawn
            known = axes.get(name) or _plate_axes(name, (plates or {}).get(name, ()), rank, taken)
            named[new[name]] = known[:rank]
            used |= {dim: (coords or {})[dim] for dim in known[:rank] if dim in (coords or {})}
        datasets[f"/{group}"] = arviz_base.dict_to_dataset(
            {new[name]: array[None] if drawn else array for name, array in members.items()},
            attrs=recorded,
            dims=named,
            coords=used,
            sample_dims=["chain", "draw"] if drawn else [],
        )
    tree = xarray.DataTree.from_dict(datasets)
    tree.attrs.update(recorded)
    return tree


def for_installed(tree: Any) -> Any:
    """Return a tree as the installed ArviZ reads it: an `InferenceData` before 1.0, else the tree.

    ArviZ 0.x, the newest that Python 3.11 gets, cannot read a DataTree; arviz-base, arviz-stats and
    arviz-plots read both.
    """
    try:
        old = metadata.version("arviz").startswith("0.")
    except metadata.PackageNotFoundError:
        return tree
    if not old:
        return tree
    with warnings.catch_warnings():
        # It announces ArviZ 1.0, to a user who can do nothing about it.
        warnings.simplefilter("ignore", FutureWarning)
        from arviz import InferenceData
    return InferenceData.from_datatree(tree)


def _site_shapes(arrays: Groups) -> dict[str, tuple[int, ...]]:
    """Return the shape of each site, in whichever group it is; log likelihoods may have less."""
    shapes: dict[str, tuple[int, ...]] = {}
    for group, members in arrays.items():
        for name, array in members.items():
            shape = array.shape if group in DATA_GROUPS else array.shape[1:]
            if len(shape) >= len(shapes.get(name, ())):
                shapes[name] = shape
    return shapes


def _plate_axes(name: str, plates: Sequence[str | None], rank: int, taken: set[str]) -> list[str]:
    """Return a name for every axis: its plate, or a name made of the site's."""
    free = [*plates, *[None] * rank][:rank]
    names = [plate or f"{name}_dim_{axis}".replace("/", ".") for axis, plate in enumerate(free)]
    # A dimension with the name of a variable would be read as that variable's coordinate.
    return [f"{dim}_dim" if dim in taken else dim for dim in names]


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
        elif reserved := [name for name in names if name in shapes or name in ("chain", "draw")]:
            problems.append(
                f"dims: site {site!r}: {_few(reserved)} is the name of a site or an axis of draws; "
                "give the dimension another name"
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
