"""Which plates the axes of data lie along, told by their lengths.

A model says it of its sites. Of an argument such as the errors of the data it says nothing, but an
array as long as one plate and no other has one value for each of its members.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Axes = Sequence[str | None]
Arrays = Mapping[str, np.ndarray]


def with_data_axes(
    plates: Mapping[str, Axes], drawn: Arrays, observed: Arrays, constant: Arrays
) -> dict[str, Axes]:
    """Return the plate along each axis of sites and data, None where there is none.

    Args:
        plates: what the model says of each site.
        drawn: draws of latent and deterministic sites, the draws on the first axis.
        observed: data of the observed sites.
        constant: other data.
    """
    shapes = {name: array.shape[1:] for name, array in drawn.items()}
    shapes |= {name: np.shape(array) for name, array in observed.items()}
    lengths = {
        plate: shapes[name][axis]
        for name in shapes
        for axis, plate in enumerate(plates.get(name, ()))
        if plate
    }
    told = {
        name: _of_site(shapes[name], lengths) for name in observed if not any(plates.get(name, ()))
    }
    told |= {
        name: _of_argument(np.shape(array), lengths)
        for name, array in constant.items()
        if name not in plates
    }
    return {**plates, **told}


def _of_site(shape: tuple[int, ...], lengths: Mapping[str, int]) -> Axes:
    # Later axes may be those of a vector, as long as a plate by chance.
    return [_only(length, lengths) for length in shape[:1]]


def _of_argument(shape: tuple[int, ...], lengths: Mapping[str, int]) -> Axes:
    return [_only(length, lengths) if shape.count(length) == 1 else None for length in shape]


def _only(length: int, lengths: Mapping[str, int]) -> str | None:
    """Return the plate that is so long, if there is one and no other."""
    fitting = [plate for plate, its in lengths.items() if its == length]
    return fitting[0] if len(fitting) == 1 and length > 1 else None
