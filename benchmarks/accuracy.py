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


def errors(draws: dict[str, np.ndarray], reference: dict[str, Any]) -> tuple[float, float, float]:
    """Return the largest mean error in reference sds, and the extreme sd ratios."""
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


def run_svi(model: Callable, data: dict, seed: int) -> tuple[dict, str, int]:
    """NumPyro's full-rank autoguide with Adam 0.01 and 10,000 steps."""
    import numpyro
    from numpyro.infer import SVI, Predictive, Trace_ELBO
    from numpyro.infer.autoguide import AutoMultivariateNormal

    guide = AutoMultivariateNormal(model)
    svi = SVI(model, guide, numpyro.optim.Adam(0.01), Trace_ELBO())
    result = svi.run(jax.random.PRNGKey(seed), 10_000, progress_bar=False, **data)
    predictive = Predictive(model, guide=guide, params=result.params, num_samples=4000)
    draws = predictive(jax.random.PRNGKey(seed + 1), **data)
    return {k: np.asarray(v) for k, v in draws.items()}, "-", 10_000


def run_nuts(model: Callable, data: dict, seed: int) -> tuple[dict, str, int]:
    """NumPyro's NUTS, one chain of 1,000 warm-up and 2,000 draws."""
    from numpyro.infer import MCMC, NUTS

    mcmc = MCMC(NUTS(model), num_warmup=1000, num_samples=2000, progress_bar=False)
    mcmc.run(jax.random.PRNGKey(seed), **data, extra_fields=("num_steps",))
    steps = int(np.sum(mcmc.get_extra_fields()["num_steps"]))
    return {k: np.asarray(v) for k, v in mcmc.get_samples().items()}, "-", steps


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
    totals = {name: {"accurate": 0, "runs": 0, "seconds": 0.0} for name in engines}
    table = {word: [0, 0] for word in ("trusted", "usable", "not trusted")}
    print(f"{'posterior':<48}{'engine':<6}{'seed':>4} {'trust':<12}", end="")
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
                totals[engine]["accurate"] += right
                totals[engine]["runs"] += 1
                totals[engine]["seconds"] += seconds
                if engine == "taut":
                    table[trust][right] += 1
                word = "" if right else "WRONG"
                print(
                    f"{case:<48}{engine:<6}{seed:>4} {trust:<12}{found[0]:6.3f}{found[1]:8.2f}"
                    f"{found[2]:8.2f} {word:<6}{gradients:>9,}{seconds:9.2f}",
                    flush=True,
                )
    print()
    for engine, total in totals.items():
        print(
            f"{engine}: accurate {total['accurate']} of {total['runs']}, "
            f"{total['seconds']:.1f} s in all"
        )
    print("\ntrust of taut's fits     wrong  right")
    for word, (wrong, right) in table.items():
        print(f"  {word:<20}{wrong:>8}{right:>7}")


if __name__ == "__main__":
    main()
