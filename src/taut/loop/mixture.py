"""Fitting a mixture: one Gaussian for each separate solution, weighted by the mass it holds.

The weights come from importance sampling with draws of every component (population Monte Carlo,
Cappe, Douc, Guillin, Marin and Robert 2008, Statistics and Computing 18): the ELBO of a component
is its evidence only where the Gaussian is exact.
"""

from collections.abc import Sequence

import numpy as np

from taut.guides.full_rank import FullRankNormal
from taut.guides.mixture_normal import MixtureNormal
from taut.loop.basins import Basin, separated
from taut.loop.monitor import Monitor
from taut.loop.stages import GaussianFit, Outcome
from taut.loop.verdict import Verdict

MASS_DRAWS = 1024
MASS_ROUNDS = 4

# A component with less than this share of the mass is left out.
SMALLEST_SHARE = 1e-4


def fit_mixture(
    fit: GaussianFit, monitor: Monitor, basins: Sequence[Basin], rng: np.random.Generator
) -> tuple[Outcome, list[Basin]]:
    """Fit every solution to the end and join them; return also the solutions that stayed apart.

    Args:
        fit: fits one Gaussian.
        monitor: the watched batch function.
        basins: the solutions, best first.
        rng: source of the draws.
    """
    outcomes: list[Outcome] = []
    kept: list[Basin] = []
    for basin in basins:
        outcome = fit.run(basin.evaluation.guide)
        if outcome.verdict.reason == "non-finite":
            continue
        # A brief fit may have stood apart and slid into a neighbour when it went on.
        apart = [separated(monitor, outcome.guide, other.guide) for other in outcomes]
        if all(apart):
            outcomes.append(outcome)
            kept.append(basin)
        else:
            kept[apart.index(False)].hits += basin.hits
    if not outcomes:
        return fit.run(basins[0].evaluation.guide), [basins[0]]
    mixture = _weigh(monitor, [outcome.guide for outcome in outcomes], rng)
    monitor.best = mixture
    return Outcome(mixture, _verdict(outcomes)), kept


def _weigh(
    monitor: Monitor, guides: Sequence[FullRankNormal], rng: np.random.Generator
) -> MixtureNormal:
    noise = rng.standard_normal((MASS_DRAWS, guides[0].dim))
    z = np.stack([guide.transform(noise) for guide in guides])
    log_p = monitor(z.reshape(-1, z.shape[-1]))[0].reshape(len(guides), MASS_DRAWS)
    mixture = _join(guides, np.full(len(guides), 1.0 / len(guides)))
    for _ in range(MASS_ROUNDS):
        parts = mixture.log_parts(z)
        log_ratios = log_p - mixture.log_prob(z)
        weights = np.exp(log_ratios - log_ratios.max()) * mixture.weights[:, None]
        shares = np.exp(parts - mixture.log_prob(z)[..., None])
        masses = (weights[..., None] * shares).sum(axis=(0, 1))
        mixture = _join(guides, np.maximum(masses / masses.sum(), 1e-12))
    kept = np.flatnonzero(mixture.weights > SMALLEST_SHARE)
    order = kept[np.argsort(-mixture.weights[kept], kind="stable")]
    weights = mixture.weights[order] / mixture.weights[order].sum()
    return _join([guides[i] for i in order], weights)


def _join(guides: Sequence[FullRankNormal], weights: np.ndarray) -> MixtureNormal:
    locs = np.array([guide.loc for guide in guides])
    return MixtureNormal(weights, locs, np.array([guide.scale_tril for guide in guides]))


def _verdict(outcomes: Sequence[Outcome]) -> Verdict:
    for outcome in outcomes:
        if not outcome.verdict.converged:
            return outcome.verdict
    gap = max(outcome.verdict.expected_gap for outcome in outcomes)
    message = (
        f"the optimiser converged for all components ({len(outcomes)}); each is expected to be "
        f"within {gap:.2g} nat of its best ELBO"
    )
    return Verdict(True, "converged", message, gap)
