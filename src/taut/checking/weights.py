"""Sites whose log density a guide counts more or less than once, by `scale` or `mask`."""

import math

from taut.checking.problem import Problem
from taut.checking.reading import Reading, Site


def weight_problems(guide: Reading, model: Reading) -> list[Problem]:
    """Find sites of the guide with a weight or mask of their own, which the model's do not have."""
    problems = []
    for name, twin in model.latents().items():
        site = guide.sites.get(name)
        if site is None or site.observed or site.plates != twin.plates:
            continue
        own = not math.isclose(site.scale, _by_plates(site, guide))
        if own and not math.isnan(site.scale) and not math.isclose(site.scale, twin.scale):
            problems.append(_weighted(site, twin))
        if site.masked and not twin.masked:
            problems.append(_masked(site))
    return problems


def _by_plates(site: Site, guide: Reading) -> float:
    plates = [guide.plates[p] for p in site.plates if p in guide.plates]
    return math.prod(plate.size / plate.subsample_size for plate in plates)


def _weighted(site: Site, twin: Site) -> Problem:
    return Problem(
        "warning",
        "weight",
        site.name,
        f"log q counts site {site.name!r} {site.scale:g} times and the model {twin.scale:g} times, "
        "so its spread comes out wrong",
        "the same weight in both",
        f"Take numpyro.handlers.scale from {site.name!r} in the guide, or write the same in the "
        "model",
    )


def _masked(site: Site) -> Problem:
    return Problem(
        "warning",
        "weight",
        site.name,
        f"a mask leaves log densities of site {site.name!r} out of log q, but not out of the "
        "model's, so what is left out has no spread that the fit could find",
        "the same mask in both",
        f"Take the mask from {site.name!r} in the guide, or write the same in the model",
    )
