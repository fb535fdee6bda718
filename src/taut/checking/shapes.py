"""Sites that guide and model both have, but of different shapes or in different plates."""

from taut.checking.lines import sample_line
from taut.checking.problem import Problem
from taut.checking.reading import Plate, Reading, Site


def shape_problems(guide: Reading, model: Reading) -> list[Problem]:
    """Find mismatches of shape, event dimension and plates, and separate minibatches."""
    problems = _minibatch_problems(guide, model)
    told = {p.site for p in problems}
    latents = model.latents()
    for name, site in guide.sites.items():
        twin = latents.get(name)
        if twin is None or site.observed or site.improper:
            continue
        problem = _shape(site, twin) or _plates(site, twin, guide, model, told)
        if problem is None and not site.computed and site.event_dim != twin.event_dim:
            problem = _event_dim(site, twin)
        if problem is not None:
            problems.append(problem)
    return problems


def same_shape(site: Site, twin: Site) -> bool:
    """Whether two shapes are equal up to leading axes of length one."""
    return _strip(site.shape) == _strip(twin.shape)


def _strip(shape: tuple[int, ...]) -> tuple[int, ...]:
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _shape(site: Site, twin: Site) -> Problem | None:
    if same_shape(site, twin):
        return None
    lacking = [
        (plate, size)
        for plate, size in zip(twin.plates, twin.plate_sizes, strict=True)
        if plate not in site.plates
    ]
    if lacking and not site.computed:
        plate, size = lacking[0]
        fix = f"Write it inside `with numpyro.plate({plate!r}, {size}):`, as in the model"
    else:
        fix = _elsewhere(site, twin)
    return Problem(
        "error",
        "shape",
        site.name,
        f"site {site.name!r} has shape {site.shape}{_inside(site)} in the guide and shape "
        f"{twin.shape}{_inside(twin)} in the model",
        f"shape {twin.shape} in both",
        fix,
    )


def _elsewhere(site: Site, twin: Site) -> str:
    """The line that makes the plates and event dimensions of a site those of its twin."""
    spare = [p for p in site.plates if p not in twin.plates]
    if spare:
        return f"Take it out of `with numpyro.plate({spare[0]!r}, ...):`"
    for plate, dim in zip(site.plates, site.plate_dims, strict=True):
        wanted = dict(zip(twin.plates, twin.plate_dims, strict=True))[plate]
        if dim != wanted:
            return f"Give the plate {plate!r} dim={wanted}, as in the model; here it has dim={dim}"
    if site.plates and site.event_dim > twin.event_dim:
        return f"Take to_event off: the rows are those of plate {site.plates[0]!r} already"
    return f"Give its parameters the shape {twin.shape}"


def _plates(
    site: Site, twin: Site, guide: Reading, model: Reading, told: set[str]
) -> Problem | None:
    split = [p for p in twin.plates if p in model.plates and model.plates[p].subsampled]
    split += [p for p in site.plates if p in guide.plates and guide.plates[p].subsampled]
    one_sided = [p for p in split if (p in site.plates) != (p in twin.plates) and p not in told]
    if one_sided and not site.computed:
        plate = one_sided[0]
        inside, outside = ("guide", "model") if plate in site.plates else ("model", "guide")
        return Problem(
            "error",
            "plate",
            site.name,
            f"site {site.name!r} is in the subsampled plate {plate!r} in the {inside} but not in "
            f"the {outside}, so its terms are scaled on one side only",
            "a site is in the same subsampled plates in both",
            f"Write in the {outside}: with numpyro.plate({plate!r}, size, subsample_size=...): "
            f"{sample_line(twin)}",
        )
    if sorted(site.plates) == sorted(twin.plates) and site.plates != twin.plates:
        return Problem(
            "error",
            "plate",
            site.name,
            f"site {site.name!r} has axes {_order(site)} in the guide and {_order(twin)} in the "
            "model, so its plates are exchanged",
            "plates on the same axes in both",
            "Open the plates in the same order, or give each its dim=",
        )
    return None


def _event_dim(site: Site, twin: Site) -> Problem:
    want = twin.event_dim - site.event_dim
    fix = f"Write .to_event({want}) after the distribution" if want > 0 else "Leave .to_event out"
    return Problem(
        "warning",
        "event_dim",
        site.name,
        f"site {site.name!r} has shape {site.shape} in both, but {site.event_dim} event "
        f"dimension{'' if site.event_dim == 1 else 's'} in the guide and {twin.event_dim} in the "
        "model; the sum is the same",
        f"{twin.event_dim} in both, which some estimators need",
        fix,
    )


def _minibatch_problems(guide: Reading, model: Reading) -> list[Problem]:
    problems = []
    for name, plate in guide.plates.items():
        twin = model.plates.get(name)
        if twin is None and plate.subsampled:
            problems.append(_own_minibatch(plate, model))
        elif twin is not None and (plate.size != twin.size):
            problems.append(
                Problem(
                    "error",
                    "plate",
                    name,
                    f"plate {name!r} has {plate.size} rows in the guide and {twin.size} in the "
                    "model",
                    "the same size in both",
                    f"Write numpyro.plate({name!r}, {twin.size}) in the guide",
                )
            )
        elif twin is not None and plate.subsample_size != twin.subsample_size:
            problems.append(
                Problem(
                    "error",
                    "minibatch",
                    name,
                    f"plate {name!r} takes {plate.subsample_size} of its {plate.size} rows in the "
                    f"guide and {twin.subsample_size} in the model, so they use different "
                    "minibatches",
                    "the same rows in both",
                    f"Write subsample_size={twin.subsample_size} in both",
                )
            )
    return problems


def _own_minibatch(plate: Plate, model: Reading) -> Problem:
    theirs = [p.name for p in model.plates.values() if p.subsampled and p.size == plate.size]
    name = repr(theirs[0]) if theirs else "the model's name for it"
    return Problem(
        "error",
        "minibatch",
        plate.name,
        f"the guide draws a minibatch of its own in plate {plate.name!r}, which the model does "
        "not have, so guide and model see different rows",
        "the guide's subsampled plates are the model's, by name",
        f"Write numpyro.plate({name}, {plate.size}, subsample_size={plate.subsample_size})",
    )


def _inside(site: Site) -> str:
    return f" (plates {_order(site)})" if site.plates else ""


def _order(site: Site) -> str:
    return ", ".join(repr(p) for p in reversed(site.plates))
