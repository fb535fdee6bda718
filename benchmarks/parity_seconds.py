"""Seconds of the tutorial's programs, Taut beside NumPyro; see `parity.py`.

Every run is a fresh process, and the runs alternate. `first` is the first `run` after imports,
`second` a further one of other data of the same shapes by an SVI made anew, both from the call to
the losses being there. `step` is what one step costs when all is compiled: for Taut by runs of two
lengths, for NumPyro by its own scan of `update`, compiled beforehand.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
from parity_programs import Case

ENGINES = ("taut", "taut-bar", "numpyro", "numpyro-bar")
DEFAULT_STEPS = 2_000

# Ratios of Taut's seconds to NumPyro's, and what they are to be at most.
TARGETS = (
    ("first run", "first", "taut", "numpyro", 1 / 3),
    ("first run, with bar", "first", "taut-bar", "numpyro-bar", 1 / 10),
    ("second run", "second", "taut", "numpyro", 1 / 20),
    ("second run, with bar", "second", "taut-bar", "numpyro-bar", 1 / 20),
    ("a step", "step", "taut", "numpyro", 1.0),
    ("a step with bar, by one without", "step", "taut-bar", "taut", 1.05),
)


def measure(engine: str, case: Case, steps: int) -> None:
    """Time one program by one engine in this process, and print the seconds as JSON."""
    library = engine.removesuffix("-bar")
    options = {"progress_bar": engine.endswith("-bar"), "stable_update": "DAIS" in case.name}
    start = None if case.name.endswith("DAIS") else case.start()

    def once(seed: int, count: int) -> float:
        args, kwargs = case.data(seed)
        began = time.perf_counter()
        svi = case.svi(library)
        result = svi.run(jax.random.key(seed), count, *args, init_params=start, **options, **kwargs)
        jax.block_until_ready((result.params, result.losses))
        return time.perf_counter() - began

    found = {"first": once(0, steps), "second": once(1, steps)}
    if library == "taut":
        found["step"] = _slope(lambda count: once(2, count), steps)
    elif engine == "numpyro":
        found["step"] = _scan_seconds(case, steps)
    print(json.dumps(found))


def _slope(once: Callable[[int], float], steps: int) -> float:
    """Return the seconds of a step from runs of two lengths, which share what a run costs."""
    short, long = (min(once(count) for _ in range(3)) for count in (steps, 3 * steps))
    return (long - short) / (2 * steps)


def _scan_seconds(case: Case, steps: int) -> float:
    args, kwargs = case.data(0)
    svi = case.svi("numpyro")
    state = svi.init(jax.random.key(0), *args, **kwargs)

    @jax.jit
    def scan(state: Any) -> Any:
        update = lambda state, _: svi.update(state, *args, **kwargs)  # noqa: E731
        return jax.lax.scan(update, state, None, length=steps)

    jax.block_until_ready(scan(state))
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        jax.block_until_ready(scan(state))
        seconds.append(time.perf_counter() - began)
    return min(seconds) / steps


def tabulate_seconds(script: str, cases: list[Case], steps: int | None, repeats: int) -> None:
    """Measure every program by every engine, and print medians and their ratios to the targets."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    count = steps or DEFAULT_STEPS
    for case in cases:
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(repeats):
            for engine in ENGINES:
                command = [sys.executable, script, "--measure", engine, case.name]
                done = subprocess.run(
                    [*command, "--steps", str(count)],
                    capture_output=True,
                    text=True,
                    check=True,
                    env=environment,
                )
                for kind, value in json.loads(done.stdout.splitlines()[-1]).items():
                    found.setdefault((engine, kind), []).append(value)
        middle = {key: statistics.median(values) for key, values in found.items()}
        print(f"\n{case.name}, {count:,} steps{'first s':>16}{'second s':>10}{'ms a step':>11}")
        for engine in ENGINES:
            step = middle.get((engine, "step"))
            shown = f"{1000 * step:11.4f}" if step is not None else ""
            row = f"{middle[engine, 'first']:10.2f}{middle[engine, 'second']:10.3f}{shown}"
            print(f"    {engine:<26}{row}")
        for label, kind, one, other, most in TARGETS:
            ratio = middle[one, kind] / middle[other, kind]
            word = "met" if ratio <= most else "not met"
            print(f"    {label:<34}{ratio:7.3f} of {other:<12} at most {most:.3f}: {word}")
        sys.stdout.flush()
