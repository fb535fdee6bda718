"""Seconds of a fit on the machine's accelerator beside its processors, and whether answers agree.

Two models where arrays are large: a logistic regression and a Gaussian process. Every run is a
fresh process. Cold is the first fit, tracing and compiling included; warm a further fit of new data
of the same shapes. The last column is the largest difference of a mean between the two, in
posterior sds.

    python benchmarks/accelerator.py
    python benchmarks/accelerator.py --scale 0.02     # smaller data, for a machine without one
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

# What JAX_PLATFORMS is set to: the processor, and JAX's own choice.
PLATFORMS = ("cpu", "")
JITTER = 1e-3


def regression(x: Any, y: Any = None) -> None:
    """Logistic regression with a common scale of the coefficients."""
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    weights = numpyro.sample("weights", dist.Normal(0.0, scale).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=x @ weights), obs=y)


def process(x: Any, y: Any = None) -> None:
    """A Gaussian process in one dimension, its three scales unknown."""
    length = numpyro.sample("length", dist.LogNormal(0.0, 1.0))
    height = numpyro.sample("height", dist.HalfNormal(2.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    apart = (x[:, None] - x[None, :]) / length
    covariance = height**2 * jnp.exp(-0.5 * apart**2)
    covariance += (noise**2 + JITTER) * jnp.eye(x.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(0.0, covariance_matrix=covariance), obs=y)


def regression_data(scale: float, seed: int) -> dict[str, Any]:
    """100,000 rows of 50 numbers, times `scale`."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((round(100_000 * scale), 50))
    odds = x @ (0.3 * rng.standard_normal(50))
    return {"x": x, "y": (rng.random(len(x)) < 1.0 / (1.0 + np.exp(-odds))).astype(np.int32)}


def process_data(scale: float, seed: int) -> dict[str, Any]:
    """500 points of a smooth curve with noise, times the root of `scale`."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 10.0, round(500 * np.sqrt(scale))))
    return {"x": x, "y": np.sin(x) + 0.3 * np.cos(3.0 * x) + 0.2 * rng.standard_normal(x.size)}


MODELS = {"regression": (regression, regression_data), "process": (process, process_data)}


def measure(name: str, scale: float) -> None:
    """Time one model in this process and print what was found as JSON."""
    import taut

    model, make = MODELS[name]
    jax.devices()
    seconds = []
    for seed in (0, 1):
        start = time.perf_counter()
        fit = taut.fit(model, **make(scale, seed), progress=False)
        seconds.append(time.perf_counter() - start)
    found = {"device": jax.devices()[0].device_kind, "cold": seconds[0], "warm": seconds[1]}
    draws = np.concatenate([np.reshape(v, (len(v), -1)) for v in fit.pool.values()], axis=1)
    found |= {"trust": fit.trust, "gradients": fit.gradients}
    found |= {"mean": draws.mean(axis=0).tolist(), "sd": draws.std(axis=0).tolist()}
    print(json.dumps(found))


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.scale)
        return
    print(
        f"{'model':<12}{'device':<24}{'trust':<12}{'gradients':>10}{'cold s':>9}{'warm s':>9}"
        f"{'apart':>8}"
    )
    for name in options.only:
        first = None
        for platform in PLATFORMS:
            command = [sys.executable, __file__, "--measure", name, "--scale", str(options.scale)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": platform}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
            first = found if first is None else first
            apart = np.subtract(found["mean"], first["mean"]) / first["sd"]
            print(
                f"{name:<12}{found['device'][:23]:<24}{found['trust']:<12}{found['gradients']:>10,}"
                f"{found['cold']:9.2f}{found['warm']:9.2f}{np.abs(apart).max():8.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
