"""Losses and params of the tutorial's programs beside NumPyro's, from the same key and data.

Random keys are split as NumPyro splits them, so a program with the same estimator gives NumPyro's
losses to rounding: `first 100` is the largest difference of the losses of the first 100 steps,
relative to the largest of them. The optimisation may then magnify rounding, so that later losses
agree on average only: `loss` is the mean over the last tenth of all steps, and the difference has
its standard error. `params` is the largest difference of any number of the params, relative to the
largest number of its array.

Two guides start from random numbers that the libraries draw in different orders. Their `first 100`
is taken from NumPyro's starting point, given as `init_params`; losses and params are each library's
own, and params of networks have no reason to agree.

Where an own difference remains it is on purpose: a draw outside the model's support has an infinite
loss here, and its step is passed over (decision 10); such steps are counted in the last column.

    python benchmarks/parity.py                       # the full runs, half an hour
    python benchmarks/parity.py --steps 500           # at most 500 steps of each
    python benchmarks/parity.py --seconds             # times instead of losses
    python benchmarks/parity.py --only 6              # the programs of page 6
"""

import argparse
from typing import Any

import jax
import numpy as np
from numpyro.infer import Predictive as NumPyroPredictive
from parity_programs import Case, all_cases, average
from parity_seconds import measure, tabulate_seconds

from taut.infer import Predictive

FIRST = 100
# Relative to the largest loss: some hundred roundings in a row, in single precision.
ROUNDING = 2e-5


def run(case: Case, library: str, steps: int, **options: Any) -> Any:
    """Run a program by one library."""
    args, kwargs = case.data(0)
    svi = case.svi(library)
    # A path of DAIS may run away; the others have no such steps.
    options = {"init_params": case.start(), "stable_update": "DAIS" in case.name, **options}
    return svi.run(jax.random.key(1), steps, *args, progress_bar=False, **options, **kwargs)


def early_difference(case: Case, ours: Any, theirs: Any) -> float:
    """Return the largest difference of the first losses, relative to the largest of them."""
    first = np.asarray(theirs.losses[:FIRST], float)
    losses = ours.losses
    if case.random_start:
        args, kwargs = case.data(0)
        svi = case.svi("numpyro")
        start = svi.get_params(svi.init(jax.random.key(1), *args, **kwargs))
        losses = run(case, "taut", len(first), init_params=start).losses
    mine = np.asarray(losses[:FIRST], float)
    both = np.isfinite(mine) & np.isfinite(first)
    # After a step that only one library makes, the runs are no longer the same.
    same = len(both) if both.all() else int(np.argmin(both))
    scale = np.abs(first[:same]).max(initial=1.0)
    return float(np.abs(mine - first)[:same].max(initial=0.0) / scale)


def param_difference(ours: dict, theirs: dict) -> float:
    """Return the largest difference of two sets of params, each relative to the largest number."""
    worst = 0.0
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        one, other = np.asarray(one, float), np.asarray(other, float)
        worst = max(worst, float(np.abs(one - other).max() / np.abs(other).max()))
    return worst


def compare(case: Case, most: int | None) -> bool:
    """Print the row of a program; return whether its first losses agree."""
    steps = min(case.steps, most or case.steps)
    ours, theirs = run(case, "taut", steps), run(case, "numpyro", steps)
    early = early_difference(case, ours, theirs)
    (mine, error), (reference, other_error) = average(ours.losses), average(theirs.losses)
    outside = int(np.isposinf(np.asarray(ours.losses)).sum())
    print(
        f"{case.name:<20}{steps:>7,}{mine:>10.3f}{reference:>10.3f}{mine - reference:>+9.3f} ± "
        f"{np.hypot(error, other_error):<7.3f}{param_difference(ours.params, theirs.params):>9.1e}"
        f"{early:>11.1e}{outside:>9}",
        flush=True,
    )
    for name, value in ours.params.items():
        if isinstance(value, jax.Array) and value.size == 1:
            print(f"    {name:<18}{float(value):>17.4f}{float(theirs.params[name]):>10.4f}")
    return early < ROUNDING


def compare_draws() -> bool:
    """Print what page 2 draws, by both libraries from the same key; return whether it agrees."""
    case = all_cases()[0]
    args, _ = case.data(0)
    params = {"A": 12.3, "B": 8.6}
    key, guide, agree = jax.random.key(2), case.guide(None), True
    latents = {"p": np.linspace(0.3, 0.9, 500, dtype=np.float32)}
    for label, program, options in (
        ("guide", guide, {"params": params, "num_samples": 500}),
        ("model and guide", case.model, {"guide": guide, "params": params, "num_samples": 500}),
        ("posterior samples", case.model, {"posterior_samples": latents}),
    ):
        data = args if label == "guide" else (None,)
        mine, reference = (
            predictive(program, **options)(key, *data)
            for predictive in (Predictive, NumPyroPredictive)
        )
        same = mine.keys() == reference.keys() and all(
            np.allclose(mine[name], reference[name], rtol=ROUNDING) for name in reference
        )
        print(f"2 draws, {label:<20}{sorted(mine)} {'the same' if same else 'others'}")
        agree &= same
    return agree


def main() -> None:
    """Print the table; exit with 1 if losses that should agree to rounding do not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, help="at most this many steps of each program")
    parser.add_argument("--seconds", action="store_true", help="times instead of losses")
    parser.add_argument("--processor", action="store_true", help="time of the processor only")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each time")
    parser.add_argument("--only", default="", help="programs whose name contains this")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cases = [case for case in all_cases() if options.only in case.name]
    if options.measure:
        engine, name = options.measure
        case = next(case for case in cases if case.name == name)
        measure(engine, case, options.steps, options.processor)
        return
    if options.seconds:
        tabulate_seconds(__file__, cases, options.steps, options.repeats, options.processor)
        return
    heads = ("loss", "NumPyro", "difference", "params", "first 100", "outside")
    print(f"{'program':<20}{'steps':>7}{heads[0]:>10}{heads[1]:>10}{heads[2]:>17}", end="")
    print(f"{heads[3]:>11}{heads[4]:>11}{heads[5]:>9}")
    wrong = [case.name for case in cases if not compare(case, options.steps)]
    if not options.only and not compare_draws():
        wrong.append("2 draws")
    if wrong:
        raise SystemExit(f"not the same to rounding: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
