"""A fit as an ArviZ tree."""

from typing import Any

from taut.report.arviz import to_arviz
from taut.results.record import Record


def make_tree(
    record: Record, dims: dict[str, list[str]] | None, coords: dict[str, Any] | None
) -> Any:
    """Return the tree of a fit; see `Fit.to_arviz`."""
    found = {
        site.name: [name for name in site.dims if name is not None]
        for site in record.sites
        if site.shape and None not in site.dims
    }
    stats = {"lp": record.pool.log_p, "log_q": record.guide.log_prob(record.pool.z)}
    attributes = {
        "trust": record.trust,
        "guide": record.guide.name,
        "seed": record.seed,
        "draws_from": record.pool.source,
        **{f"{k}_version": v for k, v in record.versions.items()},
    }
    sites = [site.name for site in record.sites]
    posterior = {name: record.pool.values[name] for name in (*sites, *record.deterministics)}
    return to_arviz(
        posterior, stats, record.observed, attributes, {**found, **(dims or {})}, coords
    )
