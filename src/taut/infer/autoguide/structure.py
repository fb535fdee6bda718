"""What an autoguide must know of a model before it can draw: its latent sites and their plates.

A structure is read by running the model without computing anything, once for each structure of
arguments. It holds shapes and names and no data, so a guide can be called with data of any shape.
"""

import dataclasses
import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from numpyro.distributions import biject_to, constraints

from taut._core.errors import InputError, first_few
from taut.infer.autoguide.run_model import run_model
from taut.targets.arguments import Arguments, traced_shape
from taut.targets.bijection import latent_bijection

NEEDS_A_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A plate around a latent site.

    Attributes:
        name: the plate's name.
        dim: its batch dimension, negative.
        size: how many of its indices are used at once.
        full_size: how many there are.
    """

    name: str
    dim: int
    size: int
    full_size: int

    @property
    def subsampled(self) -> bool:
        """Whether only some indices are used at once."""
        return self.size < self.full_size


@dataclasses.dataclass(frozen=True)
class Latent:
    """A latent site and its place in the latent vector.

    Attributes:
        name: the site's name.
        shape: shape of its value.
        latent_shape: shape of its unconstrained image (shorter for a simplex, say).
        offset: where that image starts in the latent vector.
        event_dim: how many trailing axes of the value are one event.
        latent_event_dim: the same of the unconstrained image.
        frames: the plates around it.
        support: the support, where it depends neither on data nor on other latents.
    """

    name: str
    shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    offset: int
    event_dim: int
    latent_event_dim: int
    frames: tuple[Frame, ...]
    support: Any

    @property
    def size(self) -> int:
        """How many latent coordinates the site takes."""
        return int(np.prod(self.latent_shape, dtype=int))

    @property
    def weight(self) -> float:
        """How many members of its plates the site stands for, each."""
        return math.prod(frame.full_size / frame.size for frame in self.frames)

    def image(self, value: Any, support: Any) -> Any:
        """Return the unconstrained image of a value chosen for the site.

        Raises:
            InputError: the value has another shape.
        """
        value = jnp.asarray(value, jnp.result_type(float))
        try:
            value = jnp.broadcast_to(value, self.shape)
        except ValueError:
            raise InputError(
                f"init_loc_fn gives site {self.name!r} a value of shape {value.shape}; the site "
                f"has shape {self.shape}"
            ) from None
        return latent_bijection(support).inv(value)

    @property
    def full_latent_shape(self) -> tuple[int, ...]:
        """Shape of the unconstrained image with every subsampled plate at its full size."""
        shape = list(self.latent_shape)
        for frame in self.frames:
            axis = len(shape) + frame.dim - self.latent_event_dim
            if frame.subsampled and axis >= 0 and shape[axis] == frame.size:
                shape[axis] = frame.full_size
        return tuple(shape)


@dataclasses.dataclass(frozen=True)
class Structure:
    """The latent sites of a model for arguments of one structure, and the names of the rest.

    Attributes:
        latents: the latent sites, in the model's order.
        deterministics: names of the deterministic sites.
        params: names of the model's own learnable parameters.
        subsampled: names of the plates that are subsampled.
        plates: (full size, size in use) of every plate, by name.
        observed: names of the sites with data.
        predicted: names of sites left out of the latents, as they had data when the guide was
            fitted.
    """

    latents: tuple[Latent, ...]
    deterministics: tuple[str, ...]
    params: tuple[str, ...]
    subsampled: tuple[str, ...]
    plates: dict[str, tuple[int, int]]
    observed: tuple[str, ...]
    predicted: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the latent sites."""
        return tuple(latent.name for latent in self.latents)

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return sum(latent.size for latent in self.latents)

    @property
    def supports_known(self) -> bool:
        """Whether no support depends on data or other latents."""
        return all(latent.support is not None for latent in self.latents)

    @property
    def needs_no_run(self) -> bool:
        """Whether the sites' values follow from their images without running the model."""
        return self.supports_known and not self.deterministics

    def without_predictions(self, fitted: "Structure") -> "Structure":
        """Return the same without latents that had data where a guide was fitted.

        Args:
            fitted: what the guide was fitted to. Unless all of its latents are among these, and the
                rest had data there, nothing is left out.
        """
        names = set(fitted.names)
        rest = tuple(name for name in self.names if name not in names)
        if not rest or len(rest) + len(names) > len(self.latents):
            return self
        if not set(rest) <= set(fitted.observed):
            return self
        kept: list[Latent] = []
        for latent in self.latents:
            if latent.name in names:
                offset = kept[-1].offset + kept[-1].size if kept else 0
                kept.append(dataclasses.replace(latent, offset=offset))
        return dataclasses.replace(self, latents=tuple(kept), predicted=rest)

    def split(self, z: Any) -> dict[str, Any]:
        """Split latent vectors (..., dim) into the unconstrained images of the sites."""
        lead = jnp.shape(z)[:-1]
        return {
            latent.name: jnp.reshape(
                z[..., latent.offset : latent.offset + latent.size], (*lead, *latent.latent_shape)
            )
            for latent in self.latents
        }

    def join(self, parts: dict[str, Any]) -> Any:
        """Put unconstrained images, without leading axes, into one latent vector (dim,)."""
        flat = [jnp.reshape(parts[latent.name], -1) for latent in self.latents]
        return jnp.concatenate(flat) if flat else jnp.zeros(0)

    def frames(self) -> dict[str, Frame]:
        """Return the plates around latent sites, by name."""
        return {frame.name: frame for latent in self.latents for frame in latent.frames}


def read_structure(model: Any, arguments: Arguments) -> tuple[Structure, Arguments]:
    """Run a model abstractly and describe its latent sites.

    Args:
        model: a NumPyro model.
        arguments: its arguments; arrays may be tracers.

    Returns:
        The structure, and the arguments with those held static whose values the model asks for.

    Raises:
        InputError: a latent site that no guide on R^n can reach; all such sites are named.
    """
    attempts = [arguments, _hold(arguments, only_integers=True), _hold(arguments)]
    for attempt, bound in enumerate(attempts):
        try:
            return _read(model, bound), bound
        except NEEDS_A_VALUE:
            if attempt == len(attempts) - 1:
                raise
    raise AssertionError  # the loop returns or raises


def _hold(arguments: Arguments, only_integers: bool = False) -> Arguments:
    names = [
        name
        for name, leaf in zip(arguments.leaf_names, arguments.leaves, strict=True)
        if not isinstance(leaf, Tracer)
        and not (only_integers and jnp.issubdtype(leaf.dtype, jnp.floating))
    ]
    return arguments.hold_static(names)


def _read(model: Any, arguments: Arguments) -> Structure:
    found: list[Structure] = []

    def run(leaves):
        args, kwargs = arguments.rebuild(leaves)
        # Supports may hold tracers, so the trace is read while they are alive.
        found.append(_describe(run_model(model, args, kwargs, feasible_value)))

    jax.eval_shape(run, [traced_shape(leaf) for leaf in arguments.leaves])
    return found[0]


def feasible_value(message: dict) -> Any:
    """Return any value in a latent's support: improper distributions cannot be sampled."""
    try:
        bijection = biject_to(message["fn"].support)
    except NotImplementedError:
        return None
    shape = tuple(message["kwargs"].get("sample_shape", ())) + tuple(message["fn"].shape())
    return bijection(jnp.zeros(bijection.inverse_shape(shape)))


def _describe(trace: dict) -> Structure:
    plates = {
        name: (site["args"][0], jnp.shape(site["value"])[0])
        for name, site in trace.items()
        if site["type"] == "plate"
    }
    chosen = {n: s for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}
    problems = [p for p in (_problem(name, site) for name, site in chosen.items()) if p]
    problems += _inconsistent_plates(chosen)
    if problems:
        raise InputError(problems)
    latents: list[Latent] = []
    for name, site in chosen.items():
        offset = latents[-1].offset + latents[-1].size if latents else 0
        latents.append(_describe_latent(name, site, offset, plates))
    return Structure(
        tuple(latents),
        tuple(name for name, site in trace.items() if site["type"] == "deterministic"),
        tuple(name for name, site in trace.items() if site["type"] == "param"),
        tuple(name for name, (full, used) in plates.items() if used < full),
        plates,
        tuple(n for n, s in trace.items() if s["type"] == "sample" and s["is_observed"]),
    )


def _inconsistent_plates(latents: dict) -> list[str]:
    seen: dict[str, tuple] = {}
    problems = []
    for name, site in latents.items():
        for frame in site["cond_indep_stack"]:
            first, known = seen.setdefault(frame.name, (name, frame))
            if frame != known:
                problems.append(
                    f"plate {frame.name!r} has inconsistent dim or size: {known.dim} and "
                    f"{known.size} at site {first!r}, {frame.dim} and {frame.size} at site {name!r}"
                )
    return problems


def _describe_latent(name: str, site: dict, offset: int, plates: dict) -> Latent:
    support, shape = site["fn"].support, tuple(jnp.shape(site["value"]))
    latent_shape = tuple(biject_to(support).inverse_shape(shape))
    event_dim = site["fn"].event_dim
    frames = tuple(
        Frame(f.name, f.dim, f.size, plates.get(f.name, (f.size, f.size))[0])
        for f in site["cond_indep_stack"]
    )
    known = not any(isinstance(v, Tracer) for v in jax.tree_util.tree_leaves(support))
    return Latent(
        name,
        shape,
        latent_shape,
        offset,
        event_dim,
        event_dim + len(latent_shape) - len(shape),
        frames,
        support if known else None,
    )


def _problem(name: str, site: dict) -> str | None:
    fn = site["fn"]
    if fn.support.is_discrete:
        return (
            f"an autoguide cannot handle discrete sample site {name!r}: sum it out in the model, "
            "for example with dist.MixtureSameFamily or numpyro.factor, or hide it from the guide "
            "with numpyro.handlers.block"
        )
    if isinstance(fn, dist.Delta):
        return (
            f"site {name!r} has a delta distribution; write numpyro.deterministic({name!r}, value) "
            "for a value that is not random"
        )
    try:
        biject_to(fn.support)
    except NotImplementedError:
        kind = type(fn.support).__name__.lstrip("_").lower()
        kind = "spherical" if "sphere" in kind else kind
        return (
            f"an autoguide cannot handle {kind} sample site {name!r}: no smooth one-to-one map "
            "from R^n reaches its support. For a direction use dist.ProjectedNormal with "
            "numpyro.infer.reparam.ProjectedNormalReparam"
        )
    return None


def warn_of_circles(structure: Structure) -> None:
    """Warn of latents on circles, which are cut open at pi."""
    circles = [x.name for x in structure.latents if x.support is constraints.circular]
    if circles:
        warnings.warn(
            f"the support of {first_few(circles)} is a circle, which autoguides cut open at pi; if "
            "there is mass around pi, use numpyro.infer.reparam.CircularReparam",
            stacklevel=4,
        )
