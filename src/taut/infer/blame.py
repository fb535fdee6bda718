"""Why a step failed: the site, the value and the parameters at fault."""

from typing import Any

import jax
import numpy as np
import numpyro

from taut._core.errors import InputError, first_few
from taut.checking.arguments import argument_faults
from taut.checking.running import Call
from taut.infer.params import ParamSite
from taut.infer.svi_problem import Problem, SVIState
from taut.infer.traces import Pair, is_latent, mixture_of
from taut.targets.diagnosis import explain_sites

# Particles looked at, one after another, for the one whose draw failed.
MOST_PARTICLES = 32


def blame(
    problem: Problem,
    sites: tuple[ParamSite, ...],
    state: SVIState,
    args: tuple,
    kwargs: dict,
) -> str:
    """Repeat a step that was not finite, without compiling it, and say what went wrong.

    Args:
        problem: what was optimised.
        sites: its parameters.
        state: the last finite state, from which the step was made.
        args: arguments of model and guide.
        kwargs: their keyword arguments.
    """
    with numpyro.validation_enabled(False):
        params = problem.params(sites, state, args, kwargs)
        call = Call(problem.guide, args, {**kwargs, **problem.static})
        sentences = argument_faults(call, params)
        sentences = sentences or _bad_sites(problem, state, params, args, kwargs)
    if sentences:
        return f"{first_few(sentences, 2)}; params there: {_shown(params)}"
    with numpyro.validation_enabled(False):
        new, loss = problem.step(sites, state, args, kwargs)
    raw = problem.optim.get_params(new.optim_state)
    bad = [n for n, v in raw.items() if not all(np.isfinite(x).all() for x in jax.tree.leaves(v))]
    if bad and np.isfinite(loss):
        return f"the gradient of {first_few(bad)} is not finite though the loss is {loss:.6g}"
    return f"the loss is {loss}; params there: {_shown(params)}"


def _bad_sites(
    problem: Problem, state: SVIState, params: dict, args: tuple, kwargs: dict
) -> list[str]:
    _, key = jax.random.split(state.rng_key)
    particles = getattr(problem.loss, "num_particles", 1)
    keys = [key] if particles == 1 else list(jax.random.split(key, particles))
    params = {**params, **(state.mutable_state or {})}
    kwargs = {**kwargs, **problem.static}
    for one in keys[:MOST_PARTICLES]:
        try:
            pair = Pair(problem.model, problem.guide, args, kwargs).draw(one, params)
        except InputError:  # a multi-sample guide, whose draws are not the model's one by one
            return []
        sentences = [*_outside(*pair[:2]), *explain_sites(pair[1]), *explain_sites(pair[0])]
        if sentences:
            return sentences
    return []


def _outside(model_trace: dict, guide_trace: dict) -> list[str]:
    sentences = []
    for name, site in model_trace.items():
        if not is_latent(site):
            continue
        value = np.asarray(site["value"])
        inside = np.asarray(site["fn"].support(value)) | np.isnan(value).any()
        if not inside.all():
            shown = value[~inside][0] if inside.shape == value.shape else value
            kinds = [type(mixture_of(s["fn"])).__name__ for s in (guide_trace[name], site)]
            sentences.append(
                f"site {name!r}: the guide's {kinds[0]} drew {shown}, outside the support of "
                f"the model's {kinds[1]}; use a distribution with that support in the guide"
            )
    return sentences


def _shown(params: dict[str, Any]) -> str:
    scalars = [f"{n} {float(v):.6g}" for n, v in params.items() if np.size(v) == 1]
    return first_few(scalars or [*params], 6)
