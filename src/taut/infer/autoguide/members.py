"""The members of a plate, each with a latent vector of its own."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from taut._core.errors import InputError, UnsupportedError, did_you_mean
from taut.infer.autoguide.structure import Latent, Structure


@dataclasses.dataclass(frozen=True)
class Members:
    """The sites inside a plate, seen member by member.

    Attributes:
        plate: the plate's name.
        size: how many members are used at once.
        full_size: how many there are.
        latents: the sites.
        axes: where the plate's axis lies in the unconstrained image of each site.
    """

    plate: str
    size: int
    full_size: int
    latents: tuple[Latent, ...]
    axes: tuple[int, ...]

    @property
    def weight(self) -> float:
        """How many members each of those in use stands for."""
        return self.full_size / self.size

    @property
    def dim(self) -> int:
        """Latent coordinates of one member."""
        return sum(latent.size for latent in self.latents) // self.size

    def join(self, parts: dict[str, Any]) -> Any:
        """Put unconstrained images of the sites together, one row (dim,) a member."""
        rows = [
            jnp.moveaxis(parts[latent.name], axis, 0).reshape(self.size, -1)
            for latent, axis in zip(self.latents, self.axes, strict=True)
        ]
        return jnp.concatenate(rows, axis=1)

    def split(self, z: Any) -> dict[str, Any]:
        """Split rows of latent vectors (size, dim) into unconstrained images of the sites."""
        parts, start = {}, 0
        for latent, axis in zip(self.latents, self.axes, strict=True):
            width = latent.size // self.size
            shape = list(latent.latent_shape)
            shape.insert(0, shape.pop(axis))
            rows = z[:, start : start + width].reshape(shape)
            parts[latent.name] = jnp.moveaxis(rows, 0, axis)
            start += width
        return parts


def find_members(structure: Structure, name: str | None) -> Members:
    """Find the plate of a local model whose members are annealed.

    Args:
        structure: of the local model.
        name: the plate's name; that which is subsampled, or the only one, by default.

    Raises:
        InputError: there is no such plate, or several, or a latent site lies outside of it.
    """
    if name is not None and name not in structure.plates:
        near = did_you_mean(name, structure.plates)
        raise InputError(f"the local model has no plate {name!r}{near}")
    candidates = [name] if name else list(structure.subsampled or structure.plates)
    if len(candidates) != 1:
        raise InputError(
            "AutoSemiDAIS needs exactly one plate with local latents; the local model has "
            f"{candidates or 'none'}. Name it with subsample_plate="
        )
    plate = candidates[0]
    full_size, size = structure.plates[plate]
    if not structure.latents:
        raise UnsupportedError(
            f"there are no local variables: no latent sites in plate {plate!r} of the local "
            "model; use another guide"
        )
    axes, problems = [], []
    for latent in structure.latents:
        dims = [frame.dim for frame in latent.frames if frame.name == plate]
        if dims:
            axes.append(len(latent.latent_shape) + dims[0] - latent.latent_event_dim)
        else:
            problems.append(
                f"site {latent.name!r} of the local model lies outside plate {plate!r}; sample it "
                "in the global model"
            )
    if problems:
        raise InputError(problems)
    return Members(plate, size, full_size, structure.latents, tuple(axes))
