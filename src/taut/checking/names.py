"""Sites that one of guide and model has and the other lacks."""

import difflib
from collections.abc import Collection

from taut._core.errors import did_you_mean, first_few
from taut.checking.lines import sample_line
from taut.checking.problem import Problem
from taut.checking.reading import Reading, Site


def name_problems(
    guide: Reading,
    model: Reading,
    prior_ok: Collection[str],
    used: Collection[str],
    weighed: Collection[str],
) -> list[Problem]:
    """Find missing, misspelt and extra sites, and sites observed on either side.

    Args:
        guide: what the guide declares.
        model: what the model declares.
        prior_ok: sites that may keep their prior.
        used: sites of the guide that others are made from.
        weighed: sites of the guide that its factors depend on.
    """
    problems = _observed(guide, model)
    latents, offered = model.latents(), guide.latents()
    given = {n for n, s in guide.sites.items() if s.family == "deterministic"}
    given |= {n for n, s in guide.sites.items() if s.observed}
    missing = [n for n in latents if n not in offered and n not in given]
    spare = [n for n in offered if n not in model.sites and n not in used]
    for name in missing:
        twin = difflib.get_close_matches(name, spare, n=1, cutoff=0.6)
        if twin:
            spare.remove(twin[0])
            problems.append(_misspelt(twin[0], latents[name]))
        elif latents[name].discrete and name not in prior_ok:
            problems.append(_sum_out(name))
        elif name not in prior_ok:
            problems.append(_missing(latents[name]))
    problems += [
        _idle(n) if offered[n].auxiliary else _extra(n, model)
        for n in spare
        # A discrete one that nothing is made from sums to one; a factor is dealt with elsewhere.
        if not (offered[n].auxiliary and (offered[n].discrete or n in weighed))
    ]
    for name in offered:
        twin_site = model.sites.get(name)
        if twin_site is not None and twin_site.family == "deterministic":
            problems.append(_determined(name))
    return problems


def prior_problems(prior_ok: Collection[str], model: Reading) -> list[str]:
    """Say which names in `prior_ok` are no latent sites of the model."""
    latents = model.latents()
    return [
        f"prior_ok names {name!r}, which is not a latent site of the model"
        f"{did_you_mean(name, latents)}; its latent sites are {first_few(list(latents))}"
        for name in sorted(prior_ok)
        if name not in latents
    ]


def _missing(site: Site) -> Problem:
    return Problem(
        "error",
        "missing",
        site.name,
        f"the model's site {site.name!r} (shape {site.shape}, support {site.support}) is not in "
        "the guide, so it would keep its prior",
        "the guide samples every latent site of the model",
        f"Write {sample_line(site)}, or allow the prior with prior_ok={{{site.name!r}}}",
    )


def _misspelt(name: str, site: Site) -> Problem:
    return Problem(
        "error",
        "misspelt",
        name,
        f"the guide samples {name!r}, which the model does not have (did you mean "
        f"{site.name!r}?), and does not sample the model's site {site.name!r}",
        "guide and model call a site by the same name",
        f"Write {sample_line(site)}",
    )


def _extra(name: str, model: Reading) -> Problem:
    latents = model.latents()
    return Problem(
        "error",
        "extra",
        name,
        f"the guide samples {name!r}, which the model does not have"
        f"{did_you_mean(name, latents)} and no site of the guide is made from",
        f"the model's latent sites are {first_few(list(latents))}",
        "Take the statement out, or make a site of the model from it",
    )


def _idle(name: str) -> Problem:
    return Problem(
        "error",
        "extra",
        name,
        f"the guide draws {name!r} and makes nothing from it, but log q counts its density",
        "every auxiliary has a site that is made from it",
        "Take the statement out, or make a site of the model from it",
    )


def _determined(name: str) -> Problem:
    return Problem(
        "error",
        "extra",
        name,
        f"the guide samples {name!r}, which the model computes with numpyro.deterministic",
        "the guide samples what the model samples; the rest follows",
        "Sample in the guide the sites that it is computed from",
    )


def _observed(guide: Reading, model: Reading) -> list[Problem]:
    problems = []
    for name, site in guide.sites.items():
        if site.observed:
            problems.append(
                Problem(
                    "error",
                    "observed",
                    name,
                    f"the guide's site {name!r} has obs=, so it is not drawn but adds its log "
                    "density to log q",
                    "a guide draws every one of its sites",
                    f"Write numpyro.sample({name!r}, ...) without obs=",
                )
            )
        twin = model.sites.get(name)
        if twin is not None and twin.observed and not site.observed:
            problems.append(
                Problem(
                    "error",
                    "observed",
                    name,
                    f"the guide samples {name!r}, which the model observes",
                    "a guide samples latent sites only; the data are known",
                    f"Take the statement for {name!r} out of the guide; for predictions use the "
                    "fitted result",
                )
            )
    return problems


def _sum_out(name: str) -> Problem:
    return Problem(
        "error",
        "discrete",
        name,
        f"the model's site {name!r} is discrete and not in the guide",
        "discrete latents are summed out in the model or sampled in the guide",
        "Write the sum with dist.MixtureSameFamily(dist.Categorical(probs), components) in the "
        "model",
    )
