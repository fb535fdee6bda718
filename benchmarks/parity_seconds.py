"""Seconds of the tutorial's programs, Taut beside NumPyro; see `parity.py`.

Every run is a fresh process, and the engines alternate. `first` is the first `run` after imports,
`second` a further one of other data of the same shapes by an SVI made anew, both from the call to
the losses being there. `step` is what one step costs when all is compiled: for Taut from runs of
two lengths, with and without its progress line by turns, for NumPyro from its own scan of `update`,
compiled beforehand. On a machine that does other work too only the processor's time means
something; `--processor` measures that.
"""

import json
import math
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

# Ratios of seconds, and what they are to be at most.
TARGETS = (
    ("first run", "first", "taut", "numpyro", 1 / 3),
    ("first run, with bar", "first", "taut-bar", "numpyro-bar", 1 / 10),
    ("second run", "second", "taut", "numpyro", 1 / 20),
    ("second run, with bar", "second", "taut-bar", "numpyro-bar", 1 / 20),
    ("a step", "step", "taut", "numpyro", 1.0),
    ("a step with bar, by one without", "step", "taut-bar", "taut", 1.05),
)

# How long the two runs are whose difference says what a step costs, by the steps of a run.
SHORT, LONG = 1, 11
TURNS = 5


def measure(engine: str, case: Case, steps: int, processor: bool) -> None:
    """Time one program by one engine in this process, and print the seconds as JSON."""
    clock = time.process_time if processor else time.perf_counter
    library, bar = engine.removesuffix("-bar"), engine.endswith("-bar")
    # Annealing is timed from its own starting point: what it costs does not depend on that.
    start = None if case.name.endswith("DAIS") else case.start()
    stable = case.name.endswith("DAIS")

    def once(seed: int, count: int, bar: bool) -> float:
        args, kwargs = case.data(seed)
        options = {"progress_bar": bar, "stable_update": stable, "init_params": start, **kwargs}
        began = clock()
        result = case.svi(library).run(jax.random.key(seed), count, *args, **options)
        jax.block_until_ready((result.params, result.losses))
        return clock() - began

    found = {"first": once(0, steps, bar), "second": once(1, steps, bar)}
    if engine == "taut":
        found |= _step_seconds(lambda count, bar: once(1, count, bar), steps)
    elif engine == "numpyro":
        found["step"] = _scan_seconds(case, steps, clock)
    print(json.dumps(found))


def _step_seconds(once: Callable[[int, bool], float], steps: int) -> dict[str, float]:
    best: dict[tuple[int, bool], float] = {}
    for _ in range(TURNS):
        for length in (SHORT, LONG):
            for bar in (False, True):
                seconds = once(length * steps, bar)
                best[length, bar] = min(seconds, best.get((length, bar), math.inf))
    return {
        name: (best[LONG, bar] - best[SHORT, bar]) / ((LONG - SHORT) * steps)
        for name, bar in (("step", False), ("step-bar", True))
    }


def _scan_seconds(case: Case, steps: int, clock: Callable[[], float]) -> float:
    args, kwargs = case.data(0)
    svi = case.svi("numpyro")
    state = svi.init(jax.random.key(0), *args, **kwargs)

    @jax.jit
    def scan(state: Any) -> Any:
        def update(state: Any, _: None) -> tuple[Any, Any]:
            return svi.update(state, *args, **kwargs)

        return jax.lax.scan(update, state, None, length=steps)

    jax.block_until_ready(scan(state))
    seconds = []
    for _ in range(TURNS):
        began = clock()
        jax.block_until_ready(scan(state))
        seconds.append(clock() - began)
    return min(seconds) / steps


def tabulate_seconds(
    script: str, cases: list[Case], steps: int | None, repeats: int, processor: bool
) -> None:
    """Measure every program by every engine, and print medians and their ratios to the targets."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    count = steps or DEFAULT_STEPS
    for case in cases:
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(repeats):
            for engine in ENGINES:
                command = [sys.executable, script, "--measure", engine, case.name]
                command += ["--steps", str(count), *(["--processor"] if processor else [])]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, env=environment
                )
                for kind, value in json.loads(done.stdout.splitlines()[-1]).items():
                    key = ("taut-bar", "step") if kind == "step-bar" else (engine, kind)
                    found.setdefault(key, []).append(value)
        _print_seconds(f"{case.name}, {count:,} steps", found)


def _print_seconds(title: str, found: dict[tuple[str, str], list[float]]) -> None:
    middle = {key: statistics.median(values) for key, values in found.items()}
    print(f"\n{title:<30}{'first s':>10}{'second s':>10}{'ms a step':>11}")
    for engine in ENGINES:
        first, second = middle[engine, "first"], middle[engine, "second"]
        step = middle.get((engine, "step"))
        shown = "" if step is None else f"{1000 * step:11.4f}"
        print(f"    {engine:<26}{first:10.2f}{second:10.3f}{shown}")
    for label, kind, one, other, most in TARGETS:
        ratio = middle[one, kind] / middle[other, kind]
        word = "met" if ratio <= most else "not met"
        print(f"    {label:<34}{ratio:7.3f} of {other:<12} at most {most:.3f}: {word}")
    sys.stdout.flush()
