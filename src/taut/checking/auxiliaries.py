"""Sites that a guide draws for itself: used up, summed out, or left over in log q."""

from collections.abc import Collection
from typing import Any

import jax

from taut.checking.flow import Flow, drawn_sites
from taut.checking.problem import Problem
from taut.checking.reading import Reading, Site
from taut.checking.running import Call, Given, run
from taut.guides.pieces.choices import sum_choices


def left_over(
    call: Call, guide: Reading, model: Reading, flow: Flow, sources: Collection[str], key: Any
) -> list[Problem]:
    """Find auxiliaries that the model's sites are drawn given, but that stay in log q.

    Args:
        call: the guide.
        guide: what it declares.
        model: what the model declares.
        flow: what in the guide depends on what.
        sources: drawn sites that others are computed from.
        key: where random numbers come from.
    """
    own = {
        name: site
        for name, site in guide.latents().items()
        if name in flow.used() and name not in model.sites and not site.computed
        if site.discrete or name not in sources
    }
    if any(site.discrete for site in own.values()):
        summed = _summed(call, guide, model, key)
        own = {name: site for name, site in own.items() if name not in summed}
    return [_left_over(name, site) for name, site in own.items()]


def _summed(call: Call, guide: Reading, model: Reading, key: Any) -> frozenset[str]:
    """The choices of a guide that are summed out of its density."""
    params = {n: p.value for n, p in guide.parameters.items()}
    found: list[frozenset[str]] = []

    def trace(key: Any) -> None:
        first = run(call, key, params).trace
        drawn = {n: first[n]["value"] for n in drawn_sites(guide)}

        def again(values: dict) -> dict:
            return run(call, key, params, Given({**drawn, **values}, {})).trace

        found.append(sum_choices(first, list(model.latents()), again)[1])

    jax.eval_shape(trace, key)
    return found[0]


def _left_over(name: str, site: Site) -> Problem:
    marked = " and is not marked as auxiliary" if not site.auxiliary else ""
    why = "do not use it up"
    form = "one distribution"
    if site.discrete:
        why = "do not use it up, and its values cannot be summed out"
        form = "taut.guides.mixture"
    return Problem(
        "warning",
        "auxiliary",
        name,
        f"the guide draws {name!r}, which the model does not have{marked}; sites drawn given its "
        f"value {why}, so log q counts its density as well",
        "log q of the model's sites alone",
        f"Write the sites that depend on {name!r} as {form} without it, or as computed values of "
        "it",
    )
