"""What a program declares, free of traced values: sites, plates, parameters."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from numpyro.distributions import TransformedDistribution, constraints

from taut._core.run_once import run_once
from taut.checking.running import Call, Run, innermost, is_delta, is_factor, run
from taut.checking.words import support_words
from taut.targets.abstract_run import is_improper
from taut.targets.site_log_prob import is_masked

REALS = ("real", "real_vector", "real_matrix")


@dataclasses.dataclass(frozen=True)
class Site:
    """A sample or deterministic site of a program.

    Attributes:
        name: the site's name.
        family: the distribution's name; "deterministic" for a deterministic site.
        shape: shape of the value.
        event_dim: how many of its trailing axes are one event.
        plates: the plates it is in, by axis counted from the right of the batch shape.
        plate_sizes: how many rows of each plate it sees.
        alike: whether all its numbers have one distribution, of one number.
        plate_dims: the axis of each plate, counted from the right of the batch shape.
        observed: whether its value is given.
        auxiliary: whether it is marked as such.
        discrete: whether its support is.
        computed: whether it is a `Delta` or deterministic: computed, not drawn.
        improper: whether its distribution has no density.
        scale: what its log density is multiplied by, plates included; NaN if it is not a plain
            number.
        masked: whether a mask leaves out some of its log density.
        support: the support, in words.
    """

    name: str
    family: str
    shape: tuple[int, ...]
    event_dim: int
    plates: tuple[str, ...]
    plate_sizes: tuple[int, ...]
    observed: bool
    auxiliary: bool
    discrete: bool
    computed: bool
    improper: bool
    support: str
    scale: float = 1.0
    masked: bool = False
    plate_dims: tuple[int, ...] = ()
    alike: bool = False

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return int(np.prod(self.shape, dtype=int))


@dataclasses.dataclass(frozen=True)
class Plate:
    """A plate: its size and how many of its rows are used at a time."""

    name: str
    size: int
    subsample_size: int

    @property
    def subsampled(self) -> bool:
        """Whether it takes a random part of its rows."""
        return self.subsample_size != self.size


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A `numpyro.param` statement, as first met.

    Attributes:
        name: its name.
        value: its first value, a pytree of arrays.
        constraint: its constraint, with the bounds it has at first.
        conflicting: whether a later statement of the same name differs.
        repeats: how often one statement declares it, as in a loop.
    """

    name: str
    value: Any
    constraint: Any
    conflicting: bool
    repeats: int = 1


@dataclasses.dataclass(frozen=True)
class Reading:
    """All that a program declares."""

    sites: dict[str, Site]
    plates: dict[str, Plate]
    parameters: dict[str, Parameter]
    factors: tuple[str, ...]

    def latents(self) -> dict[str, Site]:
        """The sample sites that are not observed."""
        hidden = {n: s for n, s in self.sites.items() if not s.observed}
        return {n: s for n, s in hidden.items() if s.family != "deterministic"}


def read(call: Call, key: Any) -> Reading:
    """Run a program once and describe it; only the first values of parameters are computed."""
    found: list[Any] = []

    def first_values(key: Any) -> Any:
        result = run(call, key)
        structures = [jax.tree_util.tree_flatten(c) for _, _, c in result.declarations]
        found.append((_sites(result), _plates(result), [n for n, _, _ in result.declarations]))
        found.append(tuple(s for _, s in structures))
        found.append(tuple(result.factors()))
        found.append(result.repeated)
        return [v for _, v, _ in result.declarations], [leaves for leaves, _ in structures]

    values, bounds = jax.device_get(run_once(first_values)(key))
    (sites, plates, names), structures, factors, repeated = found[-4:]
    parameters: dict[str, Parameter] = {}
    for name, value, leaves, structure in zip(names, values, bounds, structures, strict=True):
        constraint = jax.tree_util.tree_unflatten(structure, leaves)
        constraint = constraints.real if constraint is None else constraint
        new = Parameter(name, value, constraint, False, repeated.get(name, 1))
        old = parameters.get(name)
        if old is not None:
            new = dataclasses.replace(old, conflicting=old.conflicting or _differ(old, new))
        parameters[name] = new
    return Reading(sites, plates, parameters, factors)


def claims_too_much(fn: Any) -> bool:
    """Whether a transformed distribution states the support of its map, wider than its own.

    An affine map of a positive number states the real line, as if the number could be negative.
    """
    fn = innermost(fn)
    if not isinstance(fn, TransformedDistribution):
        return False
    before = [fn.base_dist.support, *(part.codomain for part in fn.transforms[:-1])]
    return any(
        support_words(part.domain) in REALS and support_words(support) not in REALS
        for part, support in zip(fn.transforms, before, strict=True)
    )


def _sites(result: Run) -> dict[str, Site]:
    sites = {}
    for name, message in result.trace.items():
        if message["type"] == "sample" and not is_factor(message):
            sites[name] = _sample_site(name, message)
        elif message["type"] == "deterministic":
            shape = tuple(np.shape(message["value"]))
            sites[name] = Site(
                name,
                "deterministic",
                shape,
                0,
                (),
                (),
                observed=False,
                auxiliary=False,
                discrete=False,
                computed=True,
                improper=False,
                support="real",
            )
    return sites


def _sample_site(name: str, message: dict) -> Site:
    fn, frames = message["fn"], message["cond_indep_stack"]
    frames = sorted(frames, key=lambda frame: -frame.dim)
    return Site(
        name,
        type(innermost(fn)).__name__,
        tuple(np.shape(message["value"])),
        fn.event_dim,
        tuple(frame.name for frame in frames),
        tuple(frame.size for frame in frames),
        observed=bool(message["is_observed"]),
        auxiliary=bool(message["infer"].get("is_auxiliary")),
        discrete=bool(fn.support.is_discrete),
        computed=is_delta(message),
        improper=is_improper(fn),
        support="unknown" if claims_too_much(fn) else support_words(fn.support),
        scale=_scale(message["scale"]),
        masked=is_masked(fn),
        plate_dims=tuple(frame.dim for frame in frames),
        alike=math.prod(innermost(fn).shape()) == 1 < np.size(message["value"]),
    )


def _scale(scale: Any) -> float:
    if scale is None:
        return 1.0
    return float("nan") if isinstance(scale, Tracer) or np.ndim(scale) else float(scale)


def _plates(result: Run) -> dict[str, Plate]:
    plates = {}
    for name, message in result.trace.items():
        if message["type"] == "plate":
            size, subsample = message["args"]
            plates[name] = Plate(name, size, size if subsample is None else subsample)
    return plates


def _differ(old: Parameter, new: Parameter) -> bool:
    if type(old.constraint) is not type(new.constraint):
        return True
    old_leaves, old_structure = jax.tree_util.tree_flatten(old.value)
    new_leaves, new_structure = jax.tree_util.tree_flatten(new.value)
    if old_structure != new_structure:
        return True
    return any(not np.array_equal(a, b) for a, b in zip(old_leaves, new_leaves, strict=True))
