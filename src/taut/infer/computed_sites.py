"""Sites that a guide computes from drawn ones, and the Jacobians that are part of their density.

A guide that draws u and sets a site of the model to f(u), by `Delta(f(u))` or by
`numpyro.deterministic`, has the density q(u) / |det df/du| there. The determinant is found by
automatic differentiation and put into the guide's trace as the log density of the `Delta`, so every
objective counts it, once: a log density that the user gave is left as it is, and so is a factor
that makes up the term already.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Delta, constraints
from numpyro.distributions.distribution import MaskedDistribution

from taut._core.dependence import dependence
from taut.checking.running import is_factor
from taut.guides.pieces.jacobian import Block, log_abs_dets
from taut.guides.pieces.point import point_of, states_density
from taut.targets.site_log_prob import site_log_prob

ROUNDING = 1e-4
"""Of a log determinant in single precision, for each number."""


def as_draws(guide_trace: dict) -> dict:
    """Return a guide's trace in which deterministic sites can stand for sites of a model."""
    return {
        n: _as_draw(s, 0, guide_trace) if _deterministic(s) else s for n, s in guide_trace.items()
    }


def with_jacobians(guide_trace: dict, model_trace: dict, again: Callable[[dict], dict]) -> dict:
    """Return a guide's trace in which computed sites of the model have their log densities.

    The drawn sites they are made from are marked as auxiliary there.

    Args:
        guide_trace: one run of the guide.
        model_trace: the model's run on it; only which sites it has is read.
        again: runs the guide once more with given values of its drawn sites; returns the trace.

    Raises:
        InputError: some sites are made of too few or too many auxiliaries to have a density.
    """
    latents = {n: s for n, s in model_trace.items() if s["type"] == "sample" and _free(s)}
    computed, known = [], []
    for name, site in latents.items():
        mine = guide_trace.get(name)
        if mine is None or site["fn"].support.is_discrete:
            continue
        if _deterministic(mine) or _point(mine) is not None:
            computed.append(name)
            if _given(mine):
                known.append(name)
    drawn = {
        n: s["value"]
        for n, s in guide_trace.items()
        if s["type"] == "sample" and _free(s) and _point(s) is None
    }
    auxiliary = [n for n in drawn if n not in latents and _smooth(drawn[n])]
    trace = dict(guide_trace)
    for name in computed:
        if _deterministic(guide_trace[name]):
            trace[name] = _as_draw(guide_trace[name], latents[name]["fn"].event_dim, guide_trace)
    marked = all(guide_trace[name]["infer"].get("is_auxiliary") for name in auxiliary)
    if not auxiliary or (marked and len(known) == len(computed)):
        return trace

    def made(values: dict) -> dict:
        found = again({**drawn, **values})
        return {name: _free_numbers(found[name]["value"], latents[name]) for name in computed}

    values = {name: drawn[name] for name in auxiliary}
    closed = jax.make_jaxpr(made)(values)
    sources = [{sorted(values)[i] for i in found} for found in dependence(closed)]
    by_name = dict(zip(sorted(computed), sources, strict=True))
    moving = [name for name in computed if by_name[name]]
    used = set().union(*by_name.values())
    for name in used:
        trace[name] = {**trace[name], "infer": {**trace[name]["infer"], "is_auxiliary": True}}
    if set(moving) <= set(known):
        return trace
    blocks = log_abs_dets(
        lambda v: {name: value for name, value in made(v).items() if name in moving},
        {name: drawn[name] for name in sorted(used)},
        [name for name in known if name in moving],
    )
    missing = _missing(blocks, known, guide_trace)
    for block in blocks:
        if set(block.made) & set(known):
            continue
        scale = guide_trace[block.sources[0]]["scale"]
        for name in block.made:
            trace[name] = {**trace[name], "scale": scale}
        first = trace[block.made[0]]
        log_det = _spread(block.log_det, _batch_shape(first))
        trace[block.made[0]] = {**first, "fn": _with_density(first, -missing * log_det)}
    return trace


def _missing(blocks: list[Block], known: list[str], guide_trace: dict) -> Any:
    """Return 1, or 0 where factors and given log densities make up all the Jacobians already."""
    factors = [site_log_prob(s) for s in guide_trace.values() if is_factor(s)]
    given = [site_log_prob(guide_trace[name]) for name in known]
    if not factors and not given:
        return 1.0
    total = {name: jnp.zeros(()) for name in ("all", "ours")}
    for block in blocks:
        scale = guide_trace[block.sources[0]]["scale"]
        needed = -jnp.sum(block.log_det) * (1.0 if scale is None else scale)
        total["all"] += needed
        if not set(block.made) & set(known):
            total["ours"] += needed
    room = ROUNDING * sum(np.size(block.log_det) for block in blocks)

    def makes_up(terms: list[Any], needed: Any) -> Any:
        found = sum((jnp.sum(term) for term in terms), jnp.zeros(()))
        return jnp.abs(found - needed) <= room * (1.0 + jnp.abs(needed))

    done = makes_up([*factors, *given], total["all"])
    if factors:
        done |= makes_up(factors, total["ours"])
    return jnp.where(done, 0.0, 1.0)


def _as_draw(site: dict, event_dim: int, guide_trace: dict) -> dict:
    scale = None
    for frame in site["cond_indep_stack"]:
        size, taken = guide_trace[frame.name]["args"]
        if taken not in (None, size):
            scale = size / taken * (1.0 if scale is None else scale)
    fn = Delta(site["value"], event_dim=min(event_dim, np.ndim(site["value"])))
    return {
        **site,
        "type": "sample",
        "fn": fn,
        "is_observed": False,
        "infer": {"is_auxiliary": True},
        "scale": scale,
        "intermediates": [],
        "args": (),
        "kwargs": {},
    }


def _with_density(site: dict, log_density: Any) -> Any:
    fn = site["fn"]
    density: Any = Delta(site["value"], log_density, event_dim=fn.event_dim)
    return density.mask(fn._mask) if isinstance(fn, MaskedDistribution) else density


def _batch_shape(site: dict) -> tuple[int, ...]:
    shape = np.shape(site["value"])
    return shape[: len(shape) - site["fn"].event_dim]


def _spread(rows: Any, batch: tuple[int, ...]) -> Any:
    """Sum rows to the rank of a batch, or share a sum out evenly among its elements."""
    if rows.ndim >= len(batch):
        return jnp.sum(rows, axis=tuple(range(len(batch), rows.ndim)))
    left = batch[rows.ndim :]
    shared = rows.reshape(rows.shape + (1,) * len(left)) / math.prod(left)
    return jnp.broadcast_to(shared, batch)


def _free_numbers(value: Any, twin: dict) -> Any:
    """Return what a density is a density of: the last of a simplex follows from the others."""
    support = twin["fn"].support
    return value[..., :-1] if support is constraints.simplex else value


def _deterministic(site: dict) -> bool:
    return site["type"] == "deterministic"


def _free(site: dict) -> bool:
    return not site["is_observed"]


def _smooth(value: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(value), jnp.inexact)


def _point(site: dict) -> Delta | None:
    return point_of(site.get("fn"))


def _given(site: dict) -> bool:
    return states_density(site.get("fn"))
