"""Seconds of a fit, Taut beside NumPyro, cold and warm, and their ratios.

`taut` is the default, a flow where a Gaussian is not good enough, with its checks; `taut-unchecked`
is the same without them, and `taut-full-rank` fits the family that NumPyro does, and no more.

Every run is a fresh process. Cold is the first fit after imports, tracing and compiling included;
warm is the median of further fits of new data of the same shapes. NumPyro's fit is
`SVI.run(..., 10_000)` with `AutoMultivariateNormal` and Adam 0.01. The runs alternate, and each
repeat has data of its own: how long chains are run differs from data to data.

    python benchmarks/speed.py --repeats 3
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ENGINES = ("taut", "taut-unchecked", "taut-full-rank", "numpyro-bar", "numpyro")
WARM_FITS = 3


def measure(engine: str, name: str, first: int) -> None:
    """Time one engine in this process, from data set `first` on; print the seconds as JSON."""
    import jax
    import numpyro
    from models import MODELS
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoMultivariateNormal

    import taut

    fit = taut.fit
    model, make = MODELS[name]

    def once(seed: int) -> None:
        data = make(seed)
        if engine.startswith("taut"):
            guide = "full-rank" if engine == "taut-full-rank" else "auto"
            checked = engine == "taut"
            fit(model, **data, guide=guide, checks=checked, progress=checked)
            return
        svi = SVI(model, AutoMultivariateNormal(model), numpyro.optim.Adam(0.01), Trace_ELBO())
        key = jax.random.PRNGKey(seed)
        result = svi.run(key, 10_000, **data, progress_bar=engine == "numpyro-bar")
        jax.block_until_ready(result.params)

    seconds = []
    for seed in range(first, first + 1 + WARM_FITS):
        start = time.perf_counter()
        once(seed)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"cold": seconds[0], "warm": statistics.median(seconds[1:])}))


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        engine, name, first = options.measure
        measure(engine, name, int(first))
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("outliers", "hierarchy"):
        found = {engine: {"cold": [], "warm": []} for engine in ENGINES}
        for repeat in range(options.repeats):
            for engine in ENGINES:
                first = str(repeat * (1 + WARM_FITS))
                command = [sys.executable, __file__, "--measure", engine, name, first]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, env=environment
                )
                for kind, value in json.loads(done.stdout.splitlines()[-1]).items():
                    found[engine][kind].append(value)
        middle = {e: {k: statistics.median(v) for k, v in f.items()} for e, f in found.items()}
        print(f"\n{name:<20}{'cold s':>9}{'warm s':>9}{'cold ratio':>12}{'warm ratio':>12}")
        for engine in ENGINES:
            cold, warm = middle[engine]["cold"], middle[engine]["warm"]
            ratios = [middle["taut"][k] / middle[engine][k] for k in ("cold", "warm")]
            print(f"{engine:<20}{cold:9.2f}{warm:9.3f}{ratios[0]:12.3f}{ratios[1]:12.3f}")


if __name__ == "__main__":
    main()
