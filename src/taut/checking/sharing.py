"""One number of a guide that serves several: of a loop, or of all rows of a site."""

import jax
import numpy as np

from taut.checking.flow import Flow
from taut.checking.problem import Problem
from taut.checking.reading import Parameter, Reading, Site


def sharing_problems(guide: Reading, model: Reading, flow: Flow) -> list[Problem]:
    """Note parameters that share a name in a loop, and sites whose numbers share one distribution.

    Args:
        guide: what the guide declares.
        model: what the model declares.
        flow: what in the guide depends on what.
    """
    problems = []
    for parameter in guide.parameters.values():
        structure = jax.tree_util.tree_structure(parameter.value)
        if parameter.repeats > 1 and jax.tree_util.treedef_is_leaf(structure):
            problems.append(_in_a_loop(parameter))
    latents = model.latents()
    for name, site in guide.latents().items():
        used = flow.laws.get(name, frozenset())
        fitted = [p for n, p in guide.parameters.items() if n in used and np.ndim(p.value) == 0]
        if name in latents and site.alike and not site.discrete and fitted:
            problems.append(_alike(site, fitted[0]))
    return problems


def _in_a_loop(parameter: Parameter) -> Problem:
    name = parameter.name
    return Problem(
        "note",
        "shared",
        name,
        f"one line declares parameter {name!r} {parameter.repeats} times, as in a loop, so all "
        "passes share its value",
        "a name for each pass, unless they are to share",
        f'Write numpyro.param(f"{name}_{{i}}", ...) for a value of their own, with i the pass',
    )


def _alike(site: Site, parameter: Parameter) -> Problem:
    name = parameter.name
    return Problem(
        "note",
        "shared",
        site.name,
        f"all {site.size} numbers of site {site.name!r} are drawn from one {site.family}, with the "
        "same mean and spread",
        "a distribution for each, unless they are to be alike",
        f"Give {name!r} a number for each, as in numpyro.param({name!r}, "
        f"jnp.full({site.shape}, {np.asarray(parameter.value).item():g}))",
    )
