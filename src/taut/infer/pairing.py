"""What must hold between a model and a guide: the same latents, of the same shapes."""

import itertools
import warnings
from typing import Any

import numpy as np
from numpyro.distributions import Delta, Unit

from taut._core.errors import InputError, did_you_mean, first_few


def check_pair(model_trace: dict, guide_trace: dict) -> None:
    """Check a model's run against the guide's draw that it was run on.

    Args:
        model_trace: the sites that the model visited.
        guide_trace: the guide's sites.

    Raises:
        InputError: a latent of the model that the guide does not draw, a shape on which they
            disagree, or a distribution that cannot be a guide's.
    """
    model, guide = _latents(model_trace), _latents(guide_trace)
    extra = _extra(model_trace, guide_trace)
    problems = [_missing(name, extra) for name in model if name not in guide_trace]
    problems += [
        problem
        for name, site in model.items()
        if name in guide
        for problem in _disagreements(name, site, guide[name])
    ]
    problems += _plate_sizes(model_trace, guide_trace)
    if problems:
        raise InputError(problems)


def check_observed(guide_trace: dict, model_trace: dict) -> None:
    """Refuse sites that a guide was given values for, where a run of the model broke.

    Args:
        guide_trace: the guide's sites.
        model_trace: the sites that the model visited before it broke.

    Raises:
        InputError: names them.
    """
    problems = [
        f"the guide's site {name!r} has obs=, so it is not drawn; write numpyro.sample({name!r}, "
        "...) without obs="
        for name, site in guide_trace.items()
        if site["type"] == "sample" and site["is_observed"] and name not in model_trace
        if not isinstance(site["fn"], Unit)
    ]
    if problems:
        raise InputError(problems)


def warn_of_extra(model_trace: dict, guide_trace: dict) -> None:
    """Warn of sites that the guide draws, the model lacks, and nothing is made from.

    Warns:
        UserWarning: names them.
    """
    extra = _extra(model_trace, guide_trace)
    if extra:
        warnings.warn(
            f"the guide draws sites that the model lacks: {first_few(extra)}. If they are on "
            "purpose, mark them with infer={'is_auxiliary': True}",
            stacklevel=2,
        )


def _plate_sizes(model_trace: dict, guide_trace: dict) -> list[str]:
    sizes = [
        {n: s["args"] for n, s in trace.items() if s["type"] == "plate"}
        for trace in (model_trace, guide_trace)
    ]
    return [
        f"plate {name!r} has {theirs[0]} rows in the guide and {sizes[0][name][0]} in the model; "
        "give both the same size"
        for name, theirs in sizes[1].items()
        if name in sizes[0] and theirs[0] != sizes[0][name][0]
    ]


def _latents(trace: dict) -> dict[str, dict]:
    return {n: s for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}


def _extra(model_trace: dict, guide_trace: dict) -> list[str]:
    drawn = _latents(guide_trace).items()
    return [n for n, s in drawn if n not in model_trace and not _auxiliary(s)]


def _auxiliary(site: dict) -> bool:
    return bool(site["infer"].get("is_auxiliary"))


def _missing(name: str, extra: list[str]) -> str:
    hint = did_you_mean(name, extra)
    if hint:
        return f"the guide draws no site {name!r} that the model has{hint}"
    return (
        f"the guide draws no site {name!r} that the model has; without it the prior would be taken "
        f"for the posterior. Write numpyro.sample({name!r}, ...) in the guide, or pass obs= in the "
        "model"
    )


def _disagreements(name: str, model_site: dict, guide_site: dict) -> list[str]:
    value = tuple(np.shape(guide_site["value"]))
    fn = model_site["fn"]
    repeats = tuple(model_site["kwargs"].get("sample_shape", ()))
    expected = repeats + tuple(fn.batch_shape) + tuple(fn.event_shape)
    problems = []
    if not _same(value, expected):
        problems.append(
            f"site {name!r}: the guide draws the shape {value} and the model expects {expected}; "
            "they must be the same, plates and to_event included"
        )
    elif not _point_mass(guide_site["fn"]) and _discrete(guide_site["fn"]) != _discrete(fn):
        kinds = {True: "discrete", False: "continuous"}
        problems.append(
            f"site {name!r} is {kinds[_discrete(fn)]} in the model and "
            f"{kinds[_discrete(guide_site['fn'])]} in the guide; use a distribution of the model's "
            "kind in the guide"
        )
    return problems


def _same(value: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether two shapes are equal but for leading ones."""
    pairs = itertools.zip_longest(reversed(value), reversed(expected), fillvalue=1)
    return all(one == other for one, other in pairs)


def _discrete(fn: Any) -> bool:
    return bool(fn.support.is_discrete)


def _point_mass(fn: Any) -> bool:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, Delta)
