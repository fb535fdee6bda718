"""Accuracy and honesty on real posteriors with known answers.

Fits every posterior of a directory laid out as posteriordb's reference set (`models.py` with
`cases()`, `reference.json` with means and sds) and compares with the reference draws. A fit is
accurate when every mean is within 0.15 reference sd and every sd ratio within 0.8 to 1.25.

    python benchmarks/accuracy.py PATH/TO/posteriordb --seeds 0 1 2 3 4
    python benchmarks/accuracy.py PATH/TO/posteriordb --x64
    python benchmarks/accuracy.py PATH/TO/posteriordb --peers     # NumPyro's SVI and NUTS beside it
"""

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

MEAN_LIMIT, LOW_RATIO, HIGH_RATIO = 0.15, 0.8, 1.25


def load_cases(folder: Path) -> tuple[dict[str, Callable], dict[str, Any]]:
    """Import the models and read the reference moments."""
    spec = importlib.util.spec_from_file_location("posteriors", folder / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cases(), json.loads((folder / "reference.json").read_text())


def errors(
    draws: dict[str, np.ndarray] | None, reference: dict[str, Any]
) -> tuple[float, float, float]:
    """Return the largest mean error in reference sds, and the extreme sd ratios."""
    if draws is None:
        return np.inf, np.nan, np.nan
    mean_error, ratios = 0.0, []
    for name, (mean, sd) in reference["params"].items():
        site, _, index = name.partition("[")
        values = np.asarray(draws[site], float).reshape(len(draws[site]), -1)
        column = values[:, int(index[:-1].split(",")[0]) - 1 if index else 0]
        mean_error = max(mean_error, abs(column.mean() - mean) / sd)
        ratios.append(column.std(ddof=1) / sd)
    return mean_error, min(ratios), max(ratios)


def accurate(mean_error: float, low: float, high: float) -> bool:
    """Whether a fit is accurate."""
    return bool(mean_error <= MEAN_LIMIT and low >= LOW_RATIO and high <= HIGH_RATIO)


def run_taut(model: Callable, data: dict, seed: int) -> tuple[dict, str, int]:
    """Fit with nothing chosen."""
    import taut

    fit = taut.fit(model, **data, seed=seed, progress=False)
    return dict(fit.pool), fit.trust, fit.gradients


def run_svi(model: Callable, data: dict, seed: int) -> tuple[dict | None, str, int]:
    """NumPyro's full-rank autoguide with Adam 0.01 and 10,000 steps; None if it ends in NaN."""
    import numpyro
    from numpyro.infer import SVI, Predictive, Trace_ELBO
    from numpyro.infer.autoguide import AutoMultivariateNormal

    guide = AutoMultivariateNormal(model)
    svi = SVI(model, guide, numpyro.optim.Adam(0.01), Trace_ELBO())
    result = svi.run(jax.random.PRNGKey(seed), 10_000, progress_bar=False, **data)
    if not all(np.isfinite(value).all() for value in result.params.values()):
        return None, "-", 10_000
    key = jax.random.PRNGKey(seed + 1)
    latents = guide.sample_posterior(key, result.params, sample_shape=(4000,))
    # Predictive returns what is computed from its posterior samples, and leaves them out.
    computed = Predictive(model, posterior_samples=latents)(key, **data)
    return {k: np.asarray(v) for k, v in {**computed, **latents}.items()}, "-", 10_000


def run_nuts(model: Callable, data: dict, seed: int) -> tuple[dict, str, int]:
    """NumPyro's NUTS, one chain of 1,000 warm-up and 2,000 draws."""
    from numpyro.infer import MCMC, NUTS

    mcmc = MCMC(NUTS(model), num_warmup=1000, num_samples=2000, progress_bar=False)
    mcmc.run(jax.random.PRNGKey(seed), **data, extra_fields=("num_steps",))
    steps = int(np.sum(mcmc.get_extra_fields()["num_steps"]))
    return {k: np.asarray(v) for k, v in mcmc.get_samples().items()}, "-", steps


def print_summary(runs: dict[str, list[tuple]]) -> None:
    """Print one line for each engine: how often it was accurate, how far off, and how long."""
    print(f"{'engine':<7}{'accurate':>10}{'median mean':>13}{'worst mean':>12}", end="")
    print(f"{'sd low':>8}{'sd high':>9}{'seconds':>9}")
    for engine, found in runs.items():
        away, low, high, right, seconds = map(np.array, zip(*found, strict=True))
        print(
            f"{engine:<7}{f'{right.sum()} of {len(right)}':>10}{np.median(away):13.3f}"
            f"{away.max():12.3f}{np.nanmin(low):8.2f}{np.nanmax(high):9.2f}{seconds.sum():9.1f}"
        )


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--x64", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--only", nargs="+", default=None, help="parts of posterior names")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", options.x64)
    warnings.filterwarnings("ignore")
    cases, reference = load_cases(options.folder)
    engines = {"taut": run_taut}
    if options.peers:
        engines |= {"svi": run_svi, "nuts": run_nuts}
    runs: dict[str, list[tuple]] = {name: [] for name in engines}
    table = {word: [0, 0] for word in ("trusted", "usable", "not trusted")}
    print("mean: the largest error of a mean, in reference sds; sd low, sd high: extreme ratios")
    print("of sds to the reference's.")
    if options.peers:
        print("svi: NumPyro's full rank, Adam 0.01, 10,000 steps; nuts: NumPyro's, one chain.")
    print()
    print(f"{'posterior':<48}{'engine':<7}{'seed':>4} {'trust':<12}", end="")
    print(f"{'mean':>6}{'sd low':>8}{'sd high':>8} {'':<6}{'grads':>9}{'seconds':>9}")
    for case, make in cases.items():
        if options.only and not any(part in case for part in options.only):
            continue
        model, data = make()
        for engine, run in engines.items():
            for seed in options.seeds:
                start = time.perf_counter()
                draws, trust, gradients = run(model, data, seed)
                seconds = time.perf_counter() - start
                found = errors(draws, reference[case])
                right = accurate(*found)
                runs[engine].append((*found, right, seconds))
                if engine == "taut":
                    table[trust][right] += 1
                word = "" if right else "WRONG"
                print(
                    f"{case:<48}{engine:<7}{seed:>4} {trust:<12}{found[0]:6.3f}{found[1]:8.2f}"
                    f"{found[2]:8.2f} {word:<6}{gradients:>9,}{seconds:9.2f}",
                    flush=True,
                )
    print()
    print_summary(runs)
    print("\ntrust of taut's fits     wrong  right")
    for word, (wrong, right) in table.items():
        print(f"  {word:<20}{wrong:>8}{right:>7}")


if __name__ == "__main__":
    main()
