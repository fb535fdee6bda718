"""Choices that a guide makes on its way: discrete auxiliaries, summed out of its density.

A guide that draws k from q(k) and then a site x of the model from q(x | k) has the density
q(x) = sum_k q(k) q(x | k), in a plate row by row. The sum is taken by running the guide with every
value of its choices, all else as it was drawn, and eliminating one choice after another, those in
the most plates first (variable elimination, as in factor graphs: Kschischang, Frey, Loeliger 2001).

A draw moves smoothly with the parameters while its choice stays the same; the choices need a score.
Given the draw, the score of the choices is averaged over instead of taken at those that were drawn
(Rao-Blackwell), which is the gradient of the same sum with q(x | k) held.
"""

import math
from collections.abc import Callable, Collection
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions.distribution import (
    Distribution,
    ExpandedDistribution,
    MaskedDistribution,
)

from taut._core.dependence import dependence
from taut.guides.pieces.point import point_of
from taut.targets.site_log_prob import site_log_prob

MOST_COMBINATIONS = 1024
"""Values of all choices that hang together, with which the guide is run."""


class Counted(Distribution):
    """The distribution of a site whose density is counted in a sum over choices.

    Args:
        base_dist: what it was drawn from.
        log_density: what counts at this site: the sum, or zero where another site has it.
        score: at a choice, what to differentiate for the score of all it was summed with; zero at
            the others of those.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    pytree_data_fields = ("base_dist", "log_density", "score")

    def __init__(self, base_dist: Any, log_density: Any, score: Any = None):
        self.base_dist, self.log_density, self.score = base_dist, log_density, score
        super().__init__(base_dist.batch_shape, base_dist.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """The support of what it was drawn from."""
        return self.base_dist.support

    @property
    def has_rsample(self) -> bool:
        """Whether what it was drawn from is smooth in its parameters."""
        return self.base_dist.has_rsample

    def log_prob(self, value: Any, intermediates: Any = None) -> Any:
        """Return what counts at this site."""
        return self.log_density


def summed(site: dict) -> bool:
    """Whether a site of a trace is a choice that was summed out."""
    return isinstance(site.get("fn"), Counted) and site["fn"].score is not None


class _Group(NamedTuple):
    """Choices that hang together, and the sites drawn given them."""

    choices: tuple[str, ...]
    sites: tuple[str, ...]


def sum_choices(
    guide_trace: dict, latents: Collection[str], again: Callable[[dict], dict]
) -> tuple[dict, frozenset[str]]:
    """Sum a guide's discrete auxiliaries out of its density, where the sum can be taken.

    It can be taken where every choice has few values, and no value is computed from it but by
    drawing; and where rows of plates are drawn given their own row of the choice.

    Args:
        guide_trace: one run of the guide.
        latents: the latent sites of the model.
        again: runs the guide once more with given values of its drawn sites; returns the trace.

    Returns:
        The trace, in which `Counted` stands at the sites that were summed and at those drawn given
        them, the former marked as auxiliary; and the names of the former.
    """
    values = {}
    for name, site in guide_trace.items():
        if _drawn(site) and name not in latents and site["fn"].support.is_discrete:
            support = _support(site)
            if support is not None:
                values[name] = support
    if not values:
        return guide_trace, frozenset()
    drawn = {n: s["value"] for n, s in guide_trace.items() if _drawn(s)}

    def terms(chosen: dict[str, Any]) -> dict[str, dict]:
        trace = again({**drawn, **chosen})
        return {
            "drawn": {n: site_log_prob({**trace[n], "scale": None}) for n in drawn},
            "computed": {n: trace[n]["value"] for n in latents if n in trace and n not in drawn},
            "stated": {n: site_log_prob(s) for n, s in trace.items() if _stated(s)},
        }

    closed, shapes = jax.make_jaxpr(terms, return_shape=True)({n: drawn[n] for n in values})
    inputs = sorted(values)
    found = [frozenset(inputs[i] for i in at) for at in dependence(closed)]
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]]
    depends = {(p[0].key, p[1].key): at for p, at in zip(paths, found, strict=True)}
    trace, summed = dict(guide_trace), []
    for group in _groups(inputs, depends):
        if _can_sum(group, guide_trace, depends, values):
            _sum(group, trace, depends, values, lambda chosen: terms(chosen)["drawn"])
            summed += group.choices
    return trace, frozenset(summed)


def _sum(
    group: _Group,
    trace: dict,
    depends: dict[tuple[str, str], frozenset[str]],
    values: dict[str, Any],
    log_probs: Callable[[dict], dict],
) -> None:
    """Put a group's sum into a trace."""
    sizes = [len(values[name]) for name in group.choices]
    grid = jnp.indices(sizes).reshape(len(sizes), -1)
    chosen = {n: values[n][row] for n, row in zip(group.choices, grid, strict=True)}
    tables = jax.vmap(lambda row: {n: log_probs(row)[n] for n in group.sites})(chosen)
    rank = max(jnp.ndim(table) - 1 for table in tables.values())
    factors = []
    for name, table in tables.items():
        known = depends["drawn", name]
        batch = (1,) * (rank + 1 - table.ndim) + table.shape[1:]
        table = table.reshape((*sizes, *batch))
        for axis, choice in enumerate(group.choices):
            if choice not in known:
                table = jax.lax.slice_in_dim(table, 0, 1, axis=axis)
        factors.append((table, known, name in group.choices))
    last, total = _eliminate(group, trace, factors)
    held = [(t if mine else jax.lax.stop_gradient(t), known, mine) for t, known, mine in factors]
    _, score = _eliminate(group, trace, held)
    for name in group.sites:
        site = trace[name]
        if name not in group.choices:
            counted = Counted(site["fn"], jnp.zeros(()))
        elif name == last:
            counted = Counted(site["fn"], total, score)
        else:
            counted = Counted(site["fn"], jnp.zeros(()), jnp.zeros(()))
        trace[name] = {**site, "fn": counted, "intermediates": []}
    used = {name for site in group.sites for name in depends["drawn", site] - {site}}
    for name in used & set(group.choices):
        trace[name] = {**trace[name], "infer": {**trace[name]["infer"], "is_auxiliary": True}}


def _eliminate(group: _Group, trace: dict, factors: list[tuple]) -> tuple[str, Any]:
    """Sum over one choice after another; return the last one, and the log of the sum, by row."""
    left = [(table, known) for table, known, _ in factors]
    name, total = "", jnp.zeros(())
    for name in _order(group, trace):
        axis, dims = group.choices.index(name), set(_frames(trace[name]))
        mine = [table for table, known in left if name in known]
        total = 0.0
        for table in mine:
            batch = range(len(group.choices), table.ndim)
            rest = tuple(a for a in batch if a - table.ndim not in dims)
            total = total + jnp.sum(table, axis=rest, keepdims=True)
        total = jax.nn.logsumexp(total, axis=axis, keepdims=True)
        known = frozenset().union(*(k for _, k in left if name in k)) - {name}
        left = [(t, k) for t, k in left if name not in k] + [(total, known)]
    depth = max((-dim for dim in _frames(trace[name])), default=0)
    shape = jnp.shape(total)
    return name, jnp.reshape(total, shape[len(shape) - depth :])


def _can_sum(
    group: _Group,
    trace: dict,
    depends: dict[tuple[str, str], frozenset[str]],
    values: dict[str, Any],
) -> bool:
    if math.prod(len(values[name]) for name in group.choices) > MOST_COMBINATIONS:
        return False
    mine = set(group.choices)
    if any(known & mine for (kind, _), known in depends.items() if kind != "drawn"):
        return False
    if not _same_scale([trace[name]["scale"] for name in group.sites]):
        return False
    # The plates that a table has after other choices are gone are those of the last one gone.
    left = [(depends["drawn", name], _frames(trace[name])) for name in group.sites]
    for name in _order(group, trace):
        frames = _frames(trace[name])
        held = [(known, at) for known, at in left if name in known]
        others = frozenset().union(*(known for known, _ in held)) - {name}
        if any(not _within(frames, at) for _, at in held):
            return False
        if any(not _within(_frames(trace[other]), frames) for other in others):
            return False
        left = [(k, at) for k, at in left if name not in k] + [(others, frames)]
    return True


def _order(group: _Group, trace: dict) -> list[str]:
    return sorted(group.choices, key=lambda name: -len(_frames(trace[name])))


def _groups(names: list[str], depends: dict[tuple[str, str], frozenset[str]]) -> list[_Group]:
    parts = [{name} for name in names]
    for known in depends.values():
        joined = [part for part in parts if part & known]
        if joined:
            parts = [part for part in parts if part not in joined] + [set().union(*joined)]
    groups = []
    for part in parts:
        drawn = [
            name for (kind, name), known in depends.items() if kind == "drawn" and known & part
        ]
        groups.append(_Group(tuple(sorted(part)), tuple(drawn)))
    return groups


def _support(site: dict) -> Any:
    """Return all values of a choice (count, *shape), or None if they are too many to list.

    In plates a value is the same in all rows; other axes take every combination.
    """
    fn = site["fn"]
    if fn.event_dim or _masked(fn) or not fn.has_enumerate_support:
        return None
    try:
        listed = fn.enumerate_support(expand=False)
    except Exception:  # bounds that are traced; distributions raise what they like
        return None
    shape, count = np.shape(site["value"]), len(listed)
    if np.size(listed) != count:
        return None
    plates = {dim % len(shape) for dim in _frames(site) if -dim <= len(shape)}
    free = tuple(1 if axis in plates else size for axis, size in enumerate(shape))
    if count ** math.prod(free) > MOST_COMBINATIONS:
        return None
    each = np.indices((count,) * math.prod(free)).reshape(math.prod(free), -1).T
    rows = jnp.ravel(listed)[each].reshape((len(each), *free))
    return jnp.broadcast_to(rows, (len(each), *shape)).astype(jnp.result_type(site["value"]))


def _masked(fn: Any) -> bool:
    while isinstance(fn, ExpandedDistribution):
        fn = fn.base_dist
    return isinstance(fn, MaskedDistribution)


def _frames(site: dict) -> dict[int, str]:
    """The plates around a site, by axis from the right."""
    return {frame.dim: frame.name for frame in site["cond_indep_stack"]}


def _within(inner: dict[int, str], outer: dict[int, str]) -> bool:
    return inner.items() <= outer.items()


def _same_scale(scales: list[Any]) -> bool:
    numbers = {s if s is None or np.ndim(s) else _number(s) for s in scales}
    return len(numbers) == 1


def _number(scale: Any) -> Any:
    try:
        return float(scale)
    except jax.errors.ConcretizationTypeError:
        return id(scale)


def _drawn(site: dict) -> bool:
    return site["type"] == "sample" and not site["is_observed"] and point_of(site["fn"]) is None


def _stated(site: dict) -> bool:
    """Whether a site adds to log q without being drawn: factors, densities of computed values."""
    return site["type"] == "sample" and not _drawn(site)
