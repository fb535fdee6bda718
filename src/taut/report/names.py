"""The names of scalars: a site of shape (2, 3) holds `theta[0,0]` to `theta[1,2]`.

A scalar site keeps its own name. Indices count from zero, as in NumPy.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from taut._core.errors import InputError, did_you_mean, first_few


def scalar_names(site: str, shape: tuple[int, ...]) -> list[str]:
    """Return one name for each scalar of a site, in the order of `array.ravel()`."""
    if not shape:
        return [site]
    return [f"{site}[{','.join(map(str, index))}]" for index in np.ndindex(*shape)]


def ordered_sites(draws: Mapping[str, np.ndarray], first: Sequence[str]) -> list[str]:
    """Return the sites of `draws`: those in `first`, in that order, then the others.

    Raises:
        InputError: a site in `first` has no draws.
    """
    missing = [site for site in first if site not in draws]
    if missing:
        raise InputError(
            [
                f"no draws of site {site!r}{did_you_mean(site, draws)}: the draws hold "
                f"{first_few(list(draws))}; pass draws of every site that is to be shown"
                for site in missing
            ]
        )
    return [*first, *(site for site in draws if site not in set(first))]


def scalar_columns(draws: Mapping[str, np.ndarray], site: str) -> dict[str, np.ndarray]:
    """Return the draws of each scalar of a site, by name, as views of shape (draws,)."""
    array = np.asarray(draws[site])
    columns = array.reshape(len(array), -1).T
    return dict(zip(scalar_names(site, array.shape[1:]), columns, strict=True))


def named_draws(draws: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Return the draws of a site, or of one scalar of it by the name it has in tables."""
    if name in draws:
        return np.asarray(draws[name])
    site, _, index = name.rpartition("[")
    if site not in draws:
        return None
    return scalar_columns(draws, site).get(f"{site}[{index.replace(' ', '')}")


def unknown_name(name: str, known: Iterable[str], what: str) -> str:
    """Return the sentence for a name that is neither a site nor a scalar."""
    known = list(known)
    return (
        f"{what}: no site or scalar is called {name!r}{did_you_mean(name, known)}; "
        f"there are {first_few(known)}"
    )
