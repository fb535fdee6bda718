"""Guides that are not densities: factors that the sampler ignores, improper distributions."""

from taut.checking.flow import Flow
from taut.checking.lines import sample_line
from taut.checking.problem import Problem
from taut.checking.reading import Reading


def improper_problems(guide: Reading, model: Reading) -> list[Problem]:
    """Find sites of the guide that have no density to draw from."""
    return [
        Problem(
            "error",
            "improper",
            name,
            f"site {name!r} is an ImproperUniform in the guide, which has no density and cannot "
            "be drawn from",
            "a distribution with a density; improper ones are for models",
            f"Write {sample_line(model.sites.get(name, site))}",
        )
        for name, site in guide.latents().items()
        if site.improper
    ]


def factor_problems(guide: Reading, flow: Flow, corrects: bool) -> list[Problem]:
    """Find factors that change log q but not what is drawn.

    Args:
        guide: what the guide declares.
        flow: what depends on what.
        corrects: whether the factors are the Jacobian term of the guide's computed sites, as they
            should be.
    """
    problems = []
    parameters = set(guide.parameters)
    for name in guide.factors:
        depends = flow.factors[name]
        stray = sorted((depends & parameters) - flow.sampler())
        if stray:
            problems.append(_unnormalised(name, stray))
        elif not corrects:
            problems.append(_term(name))
    return problems


def _unnormalised(name: str, stray: list[str]) -> Problem:
    shown = ", ".join(map(repr, stray))
    return Problem(
        "error",
        "factor",
        name,
        f"the guide's factor {name!r} has parameters that do not reach the sampler: no draw "
        f"depends on {shown}. q is not normalised, and the loss can fall without bound",
        "a guide is a density that its own sample statements draw from",
        "Write the formula as a density: taut.guides.energy(log_q, params, sites)",
    )


def _term(name: str) -> Problem:
    return Problem(
        "warning",
        "factor",
        name,
        f"the guide's factor {name!r} is subtracted from the ELBO; it does not change what is "
        "drawn, and q is no longer normalised",
        "log q comes from the sample statements alone",
        "Take the factor out, or write the formula with taut.guides.energy(log_q, params, sites)",
    )
