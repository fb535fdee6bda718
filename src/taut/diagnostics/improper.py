"""Signs that a density has no finite integral, which no draw of it can show by itself.

Where a prior has none, neither may the posterior: the slope of a logistic regression whose data a
line separates, the log rate of counts that are all zero. A guide is then fitted to as much of it as
the optimiser went to, and chains that wander off are still where they began, in units of that.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from taut._core.errors import first_few
from taut.diagnostics.finding import Finding
from taut.objectives.matched_elbo import Batch

# So many sds away, a density that has fallen by fewer nats than this leaves room for as much mass
# as a normal one has around its middle, if it is as high all the way.
FAR = 1000.0
PLATEAU = math.log(FAR / math.sqrt(2.0 * math.pi))

ADVICE = "give every latent a prior that can be normalised, and is no wider than it need be"


def endless(
    batch: Batch, z: Float[np.ndarray, "draws dim"], log_p: Float[np.ndarray, " draws"]
) -> tuple[int, ...]:
    """Return the coordinates along which a density hardly falls off, seen from its highest draw.

    Args:
        batch: batched log density and gradient.
        z: draws of the guide.
        log_p: their log densities.
    """
    middle, dim = z[int(log_p.argmax())], z.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        steps = FAR * np.diag(z.std(axis=0))
        far = np.concatenate([middle + steps, middle - steps])
    found, _ = batch(np.where(np.isfinite(far), far, middle))
    high = (found > log_p.max() - PLATEAU) & np.isfinite(far).all(axis=1) & (far != middle).any(1)
    return tuple(np.flatnonzero(high.reshape(2, dim).any(axis=0)).tolist())


def endless_finding(along: Sequence[int], coordinates: Sequence[str]) -> Finding:
    """Say along what the density hardly falls off."""
    text = (
        f"The density hardly falls off along {first_few([coordinates[i] for i in along])}: "
        f"{FAR:,.0f} sds away it is within {PLATEAU:.0f} nats of the highest found. There may be "
        "as much mass out there as here, or the posterior has no finite integral."
    )
    return Finding("integral", float(len(along)), 0.0, "bad", text, ADVICE)


def no_draws(
    names: Sequence[str],
    values: Float[np.ndarray, "draws scalars"],
    coordinates: Sequence[str],
    z: Float[np.ndarray, "draws dim"],
) -> Finding | None:
    """Return what is wrong with draws that are not finite, or all the same; None if nothing is.

    Args:
        names: of the scalars of all sites.
        values: their draws.
        coordinates: names of the latent coordinates.
        z: latent draws; sites may have entries that are the same in all draws by their support.
    """
    lost = [names[i] for i in np.flatnonzero(~np.isfinite(values).all(axis=0)).tolist()]
    stuck = [coordinates[i] for i in np.flatnonzero((z == z[0]).all(axis=0)).tolist()]
    if not lost and not stuck:
        return None
    told = [f"those of {first_few(lost)} are not finite"] if lost else []
    told += [f"those of {first_few(stuck)} are all the same"] if stuck else []
    text = f"Something is wrong with the draws: {' and '.join(told)}."
    return Finding("draws", float(len(lost) + len(stuck)), 0.0, "bad", text, ADVICE)
