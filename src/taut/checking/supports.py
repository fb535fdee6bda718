"""Where a guide's draws lie, against where the model allows them."""

import dataclasses
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import constraints

from taut._core.random_keys import key_numbers
from taut._core.run_once import map_once
from taut.checking.lines import sample_line
from taut.checking.problem import Problem
from taut.checking.reading import REALS, Reading, Site, claims_too_much
from taut.checking.running import Call, Given, Run, is_delta, is_factor, log_prob, run

DRAWS = 256


@dataclasses.dataclass(frozen=True)
class SiteDraws:
    """What draws of a guide say about one site of the model.

    Attributes:
        outside: the share of draws outside the model's support.
        wild: whether draws are NaN or infinite.
        guide: lowest and highest value the guide's distribution can take, None if not an interval.
        model: the same of the model's distribution.
        overhang: how far the guide's interval reaches beyond the model's, at most.
        gap: how much of the model's interval the guide cannot reach, at most.
    """

    outside: float
    wild: bool
    guide: tuple[float, float] | None
    model: tuple[float, float] | None
    overhang: float
    gap: float


@dataclasses.dataclass(frozen=True)
class JointDraws:
    """What draws of a guide say when the model is run on them.

    Attributes:
        sites: by latent site that both have.
        never_finite: sites of guide and model whose log density is finite at no draw, with the
            program they are in and whether it was NaN.
    """

    sites: dict[str, SiteDraws]
    never_finite: tuple[tuple[str, str, bool], ...]


def draw_jointly(
    guide_call: Call, model_call: Call, guide: Reading, shared: Collection[str], key: Any
) -> JointDraws:
    """Draw from the guide at its first parameters and run the model on the draws."""
    params = {n: p.value for n, p in guide.parameters.items()}

    def draw(numbers: Any) -> dict:
        first, second = jax.random.split(jax.random.wrap_key_data(numbers))
        left = run(guide_call, first, params)
        values = {n: left.trace[n]["value"] for n in shared}
        plates = {n: m["value"] for n, m in left.trace.items() if m["type"] == "plate"}
        right = run(model_call, second, given=Given(values, plates))
        return {
            "outside": {n: _outside(right.trace[n], values[n]) for n in shared},
            "wild": {n: ~jnp.isfinite(values[n]).all() for n in shared},
            "guide": {n: _interval(left.trace[n]) for n in shared},
            "model": {n: _interval(right.trace[n]) for n in shared},
            "log_q": _log_probs(left),
            "log_p": _log_probs(right),
        }

    found = jax.device_get(map_once(draw)(key_numbers(key, DRAWS)))
    sites = {}
    for name in shared:
        guide_interval, model_interval = found["guide"][name], found["model"][name]
        outside, wild = float(np.mean(found["outside"][name])), bool(found["wild"][name].any())
        sites[name] = _compare(outside, wild, guide_interval, model_interval)
    dead = [
        (name, program, bool(np.isnan(values).any()))
        for program, group in (("guide", found["log_q"]), ("model", found["log_p"]))
        for name, values in group.items()
        if not np.isfinite(values).any()
    ]
    return JointDraws(sites, tuple(dead))


def support_problems(draws: JointDraws, guide: Reading, model: Reading) -> list[Problem]:
    """Find sites where the guide reaches outside the model's support, or not all of it."""
    problems = []
    for name, found in draws.sites.items():
        site, twin = guide.sites[name], model.sites[name]
        if found.wild:
            problems.append(_wild_problem(site))
        elif found.outside > 0 or found.overhang > 0 or _kinds_clash(site, twin):
            problems.append(_outside_problem(site, twin, found))
        elif found.gap > 0:
            problems.append(_narrow_problem(site, twin, found))
        elif twin.discrete and not site.computed:
            problems.append(_discrete_problem(name))
    told = {p.site for p in problems}
    problems += [
        _dead_problem(name, program, nan)
        for name, program, nan in draws.never_finite
        if name not in told and not any(s.outside > 0 for s in draws.sites.values())
    ]
    return problems


def _kinds_clash(site: Site, twin: Site) -> bool:
    if site.computed:
        return False
    return site.discrete != twin.discrete or (
        site.support in REALS and twin.support not in (*REALS, "zero_sum")
    )


def _outside(message: dict, value: Any) -> Any:
    return jnp.mean(~message["fn"].support(value))


def _interval(message: dict) -> Any:
    """Lowest and highest values of each element's support; None if it is not an interval."""
    if message["type"] != "sample" or is_delta(message) or claims_too_much(message["fn"]):
        return None
    support = message["fn"].support
    base = getattr(support, "base_constraint", support)
    shape = jnp.shape(message["value"])
    if base is constraints.real or base is constraints.real_vector:
        low, high = -jnp.inf, jnp.inf
    elif getattr(base, "is_discrete", False) or not _is_interval(base):
        return None
    else:
        low = getattr(base, "lower_bound", -jnp.inf)
        high = getattr(base, "upper_bound", jnp.inf)
    try:
        return jnp.broadcast_to(low, shape), jnp.broadcast_to(high, shape)
    except ValueError:
        return None


def _is_interval(base: Any) -> bool:
    return hasattr(base, "lower_bound") or hasattr(base, "upper_bound")


def _compare(outside: float, wild: bool, guide: Any, model: Any) -> SiteDraws:
    if guide is None or model is None or np.size(guide[0]) == 0:
        return SiteDraws(outside, wild, None, _hull(model), 0.0, 0.0)
    with np.errstate(invalid="ignore"):
        low, high = guide[0] - model[0], model[1] - guide[1]
        width = model[1] - model[0]
    low, high = (np.where(np.isnan(v), 0.0, v) for v in (low, high))  # both infinite: equal
    room = 1e-5 * np.where(np.isfinite(width), width, 1.0)
    return SiteDraws(
        outside,
        wild,
        _hull(guide),
        _hull(model),
        overhang=float(np.maximum(0, np.maximum(-low, -high) - room).max()),
        gap=float(np.maximum(0, np.maximum(low, high) - room).max()),
    )


def _hull(interval: Any) -> tuple[float, float] | None:
    if interval is None or np.size(interval[0]) == 0:
        return None
    return float(np.min(interval[0])), float(np.max(interval[1]))


def _log_probs(result: Run) -> dict[str, Any]:
    return {
        name: log_prob(message)
        for name, message in result.trace.items()
        if message["type"] == "sample" and not (is_factor(message) and message["value"] is None)
    }


def _words(site: Site, interval: tuple[float, float] | None) -> str:
    if interval is None or not np.isfinite(interval).any():
        return "computed" if site.family == "deterministic" else site.support
    return f"{site.support}, {_number(interval[0])} to {_number(interval[1])}"


def _number(value: float) -> str:
    return f"{value:g}".replace("inf", "infinity")


def _outside_problem(site: Site, twin: Site, found: SiteDraws) -> Problem:
    share = "its draws can lie outside"
    if found.outside > 0:
        share = f"{100 * found.outside:.3g}% of its draws lie outside"
    origin = "computed" if site.computed else site.family
    support = "" if site.computed else f" with support {_words(site, found.guide)}"
    return Problem(
        "error",
        "support",
        site.name,
        f"site {site.name!r} is {origin}{support} in the guide and {twin.family} with support "
        f"{_words(twin, found.model)} in the model; {share}, where the loss is infinite",
        f"support {_words(twin, found.model)}",
        f"Write {sample_line(twin, found.model)}",
    )


def _wild_problem(site: Site) -> Problem:
    return Problem(
        "error",
        "density",
        site.name,
        f"the guide draws NaN or infinity for site {site.name!r} at the first values of its "
        "parameters",
        "a finite value in every draw",
        "Look for an overflow, a logarithm of a negative number or a division by zero in what "
        f"{site.name!r} is made from, and for NaN in the data",
    )


def _narrow_problem(site: Site, twin: Site, found: SiteDraws) -> Problem:
    return Problem(
        "warning",
        "narrow",
        site.name,
        f"site {site.name!r} is {site.family} with support {_words(site, found.guide)} in the "
        f"guide, narrower than the model's ({twin.family}, {_words(twin, found.model)}); it can "
        "never reach the rest, whatever the data say",
        f"support {_words(twin, found.model)}",
        f"Write {sample_line(twin, found.model)}",
    )


def _discrete_problem(name: str) -> Problem:
    return Problem(
        "warning",
        "discrete",
        name,
        f"site {name!r} is discrete, so no gradient passes through its draws",
        "a sum over its values, or an objective that uses the score function",
        "Write the sum with dist.MixtureSameFamily in the model if its values are few",
    )


def _dead_problem(name: str, program: str, nan: bool) -> Problem:
    value = "NaN" if nan else "minus infinity"
    return Problem(
        "error",
        "density",
        name,
        f"the log density of {program} site {name!r} is {value} at all {DRAWS} draws of the guide",
        "a finite log density where the guide starts",
        "Give the parameters first values that put the guide where the model has density, and "
        "check the data",
    )
