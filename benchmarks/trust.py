"""Does the word of trust hold?

Fits posteriors with exact moments (and, given its folder, posteriordb's with reference draws) and
prints how often each word went with a right and with a wrong fit: right means every mean within
0.15 sd and every sd ratio within 0.8 to 1.25. Then data are simulated from five models with
parameters from their priors: over many of them the rank of the truth among the draws is uniform
(Talts and others 2018, arXiv 1804.06788), which is tested separately for the fits of each word.

    python benchmarks/trust.py --seeds 0 1 2 3 4 --simulations 100
    python benchmarks/trust.py --posteriordb PATH/TO/posteriordb
"""

import argparse
import collections
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import scipy.stats
import synthetic

import taut

BINS, RANKED = 10, 99
WORDS = ("trusted", "usable", "not trusted")


def moments_off(fit: Any, exact: synthetic.Moments) -> tuple[float, float, float]:
    """Return the largest mean error in sds and the extreme sd ratios."""
    errors, ratios = [], []
    for name, (mean, sd) in exact.items():
        errors.append(np.max(np.abs(fit.mean(name) - mean) / sd))
        ratios += np.ravel(fit.sd(name) / sd).tolist()
    return float(max(errors)), min(ratios), max(ratios)


def judge_known(seeds: list[int], table: dict[str, list[int]]) -> None:
    """Fit the posteriors with exact moments."""
    for name, (model, exact) in synthetic.known().items():
        for seed in seeds:
            fit = taut.fit(model, seed=seed, progress=False)
            found = moments_off(fit, exact)
            right = accuracy.accurate(*found)
            table[fit.trust][right] += 1
            line = f"{name:<36}{seed:>4}  {fit.trust:<12}{fit.guide_name:<11}"
            line += f"{found[0]:7.3f}{found[1]:7.2f}{found[2]:7.2f} {'' if right else 'WRONG'}"
            print(line, flush=True)


def judge_references(folder: Path, seeds: list[int], table: dict[str, list[int]]) -> None:
    """Fit the posteriors with reference draws."""
    cases, reference = accuracy.load_cases(folder)
    for case, make in cases.items():
        model, data = make()
        for seed in seeds:
            draws, trust, _ = accuracy.run_taut(model, data, seed)
            right = accuracy.accurate(*accuracy.errors(draws, reference[case]))
            table[trust][right] += 1
            print(f"{case:<48}{seed:>4}  {trust:<12}{'' if right else 'WRONG'}", flush=True)


def simulate(model: Callable, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw parameters from the prior and data from the model."""
    drawn = taut.prior(model, synthetic.COVARIATE, draws=1, seed=seed)
    values = {name: np.asarray(value)[0] for name, value in drawn.items()}
    return values, values.pop("y")


def ranks(model: Callable, seed: int) -> tuple[str, list[int]]:
    """Return the word of one fit, and the ranks of the true values among its draws."""
    truth, y = simulate(model, seed)
    fit = taut.fit(model, synthetic.COVARIATE, y, seed=seed, progress=False)
    draws = fit.sample(RANKED, seed=seed)
    return fit.trust, [
        int(below)
        for name in fit.sites
        for below in np.ravel((draws[name] < truth[name]).sum(axis=0))
    ]


def judge_simulated(simulations: int) -> None:
    """Print, for each model and word, how uniform the ranks of the truth are."""
    print(f"\n{'simulated':<26}{'word':<13}{'fits':>6}{'chi-squared p of uniform ranks':>34}")
    for name, model in synthetic.SIMULATED.items():
        found: dict[str, list[list[int]]] = collections.defaultdict(list)
        for seed in range(simulations):
            word, places = ranks(model, seed)
            found[word].append(places)
        for word in WORDS:
            if len(found[word]) < 2 * BINS:
                print(f"{name:<26}{word:<13}{len(found[word]):>6}{'too few':>34}")
                continue
            # Values of one data set share it; the first value of each is independent of the others.
            p = []
            for column in np.array(found[word]).T:
                counts = np.bincount(column * BINS // (RANKED + 1), minlength=BINS)
                p.append(scipy.stats.chisquare(counts).pvalue)
            shown = " ".join(f"{value:.2f}" for value in p)
            print(f"{name:<26}{word:<13}{len(found[word]):>6} {shown:>33}", flush=True)


def main() -> None:
    """Run all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--simulations", type=int, default=40)
    parser.add_argument("--posteriordb", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    table = {word: [0, 0] for word in WORDS}
    judge_known(options.seeds, table)
    if options.posteriordb:
        judge_references(options.posteriordb, options.seeds, table)
    print("\nword                     wrong  right")
    for word, (wrong, right) in table.items():
        print(f"  {word:<20}{wrong:>8}{right:>7}")
    judge_simulated(options.simulations)


if __name__ == "__main__":
    main()
