"""The programs of the tutorial, each to be run by Taut and by NumPyro on the same key and data."""

import dataclasses
import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.infer
import numpyro.infer.autoguide

import taut.infer

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "tutorial"))
LIBRARIES = {"taut": taut.infer, "numpyro": numpyro.infer}


@dataclasses.dataclass(frozen=True)
class Case:
    """One SVI program.

    Attributes:
        name: what the table calls it, with the number of its page.
        model: the model.
        guide: makes the guide, given a library's `infer`.
        rate: step size of Adam.
        particles: draws behind each loss.
        steps: steps of the full run.
        data: makes arguments and keyword arguments for a seed; shapes do not depend on it.
        random_start: whether the guide starts at random numbers that the libraries draw in
            different orders.
        start: makes the params to start from, None for the guide's own.
    """

    name: str
    model: Callable
    guide: Callable[[Any], Any]
    rate: float
    particles: int
    steps: int
    data: Callable[[int], tuple[tuple, dict]] = lambda seed: ((), {})
    random_start: bool = False
    start: Callable[[], dict[str, Any] | None] = lambda: None

    def svi(self, library: str) -> Any:
        """Put the program together, by one library."""
        infer = LIBRARIES[library]
        loss = infer.Trace_ELBO(num_particles=self.particles)
        return infer.SVI(self.model, self.guide(infer), numpyro.optim.Adam(self.rate), loss)


def _auto(model: Callable, kind: str, **options: Any) -> Callable[[Any], Any]:
    return lambda infer: getattr(infer.autoguide, kind)(model, **options)


def _fixed(guide: Callable) -> Callable[[Any], Any]:
    return lambda infer: guide


def _tosses(seed: int) -> tuple[tuple, dict]:
    # The tutorial's twelve heads and eight tails; other seeds have other numbers of heads.
    heads = 12 - seed
    return (jnp.concatenate([jnp.ones(heads), jnp.zeros(20 - heads)]),), {}


def all_cases() -> list[Case]:
    """Return the programs in the order of the pages; page 2 draws, and has none of its own."""
    coin, ridges, ellipse, line, groups = (
        importlib.import_module(page)
        for page in (
            "heads_or_tails",
            "rotated_modes",
            "full_rank_guide",
            "line_with_outliers",
            "eight_groups",
        )
    )

    def points(seed: int) -> tuple[tuple, dict]:
        return (), line.simulate(1 + seed)

    def members(seed: int) -> tuple[tuple, dict]:
        return (), groups.simulate(seed)

    median = {"init_loc_fn": line.init_to_median}
    cases = [
        Case("1 coin, Beta", coin.model, _fixed(coin.beta_guide), 5e-4, 1, 10_000, _tosses),
        Case("1 coin, Normal", coin.model, _fixed(coin.normal_guide), 5e-4, 1, 50_000, _tosses),
        Case("3 coin, 32", coin.model, _fixed(coin.beta_guide), 2e-3, 32, 4_000, _tosses),
        Case("4 ridges", ridges.ridges, _fixed(ridges.guide), 1e-3, 16, 10_000),
        Case(
            "5 ellipse",
            ellipse.ellipse,
            _auto(ellipse.ellipse, "AutoMultivariateNormal"),
            2e-3,
            8,
            10_000,
        ),
    ]
    for label, guide in (
        ("full rank", _auto(line.model, "AutoMultivariateNormal", **median)),
        ("diagonal", _auto(line.model, "AutoDiagonalNormal", **median)),
        ("hand-made", _fixed(line.hand_made)),
    ):
        cases.append(Case(f"6 line, {label}", line.model, guide, 5e-3, 8, 10_000, points))
    for label, (kind, options, rate) in groups.GUIDES.items():
        guide = _auto(groups.model, kind.__name__, **options)
        case = Case(f"7 groups, {label}", groups.model, guide, rate, 100, 5_000, members)
        if label in ("IAF", "BNAF"):
            case = dataclasses.replace(case, random_start=True)
        if label == "DAIS":
            # Annealing starts where the diagonal guide has ended.
            (diagonal,) = (c for c in cases if c.name == "7 groups, diagonal")
            before = functools.partial(_fitted_start, diagonal, groups.annealing_start)
            case = dataclasses.replace(case, start=functools.cache(before))
        cases.append(case)
    return cases


def _fitted_start(case: Case, start_of: Callable[[dict], dict]) -> dict[str, Any]:
    args, kwargs = case.data(0)
    svi = case.svi("taut")
    result = svi.run(jax.random.key(1), case.steps, *args, progress_bar=False, **kwargs)
    return start_of(result.params)


def average(losses: Any, share: float = 0.1) -> tuple[float, float]:
    """Return the mean of the last losses, and its standard error from the means of 20 batches."""
    last = np.asarray(losses, float)[-max(int(share * len(losses)), 20) :]
    means = [part[np.isfinite(part)].mean() for part in np.array_split(last, 20)]
    return float(np.mean(means)), float(np.std(means, ddof=1) / np.sqrt(20))
