"""What a fit saves NUTS: warm-up iterations, with and without a fit to start from.

For each number of warm-up iterations, NUTS runs from random starts and from a fit. The table gives
the gradients of a thousand draws after warm-up, the effective draws of the worst scalar, how many
that is for a thousand gradients, and whether the chains agree.

    python benchmarks/nuts_start.py --seeds 0 1 2
"""

import argparse

import numpy as np
from models import MODELS

import taut

DRAWS, CHAINS = 1000, 4
WARMUPS = {"random": (1000, 500, 150), "fit": (1000, 150, 50, 10)}


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    print(f"{'model':<12}{'start':<8}{'warm-up':>8}{'gradients':>11}{'least ess':>11}", end="")
    print(f"{'per 1000 gradients':>20}{'worst r-hat':>13}{'converged':>11}")
    for name, (model, make) in MODELS.items():
        data = make(0)
        fit = taut.fit(model, **data, progress=False)
        for start, warmups in WARMUPS.items():
            for warmup in warmups:
                runs = [
                    taut.nuts(
                        model,
                        **data,
                        start=fit if start == "fit" else None,
                        draws=DRAWS,
                        warmup=warmup,
                        chains=CHAINS,
                        seed=seed,
                        progress=False,
                    )
                    for seed in options.seeds
                ]
                gradients = np.median([run.gradients for run in runs])
                least = np.median([min(run.ess.values()) for run in runs])
                worst = max(max(run.r_hat.values()) for run in runs)
                agreed = sum(run.converged for run in runs)
                print(
                    f"{name:<12}{start:<8}{warmup:>8}{gradients:>11,.0f}{least:>11,.0f}"
                    f"{1000 * least / gradients:>20.1f}{worst:>13.3f}"
                    f"{agreed:>6} of {len(runs)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
