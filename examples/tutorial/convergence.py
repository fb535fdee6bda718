"""Page 3. Has it converged?

Every loss is an estimate from a few draws of the guide, so the curve of losses is noisy even when
nothing is left to gain. Two questions follow.

*How many particles?* `num_particles` is the number of draws behind each estimate. Thirty-two
instead of one make the noise almost six times smaller, and each step dearer. Near the optimum the
loss of a guide that holds the posterior loses its noise by itself: there log p - log q is the same
for every draw.

*How many steps?* Rather than guess, let the run judge itself. With `stop="auto"` it ends when the
two halves of its last half look alike: the loss has stopped falling and the parameters only jitter.
It is off unless asked for, because a program moved over from NumPyro expects all of its steps. The
verdict is made either way, and says what still moves.

Run it with `python convergence.py`; `--short` makes few steps.
"""

from collections.abc import Sequence

import jax
import matplotlib.pyplot as plt
import numpy as np
from heads_or_tails import TOSSES, beta_guide, model
from page import read_options

from taut.infer import SVI, Trace_ELBO, optim

EVIDENCE = 14.788


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Compare 1 and 32 particles, then let the run decide when to stop."""
    page = read_options(arguments)
    key = jax.random.key(3)
    far = {"A": 2.0, "B": 2.0}
    found = {}
    figure, axes = plt.subplots(figsize=(6.5, 4.0))
    for particles in (1, 32):
        svi = SVI(model, beta_guide, optim.Adam(2e-3), Trace_ELBO(num_particles=particles))
        result = svi.run(key, page.steps(4000), TOSSES, init_params=far)
        losses = np.asarray(result.losses)
        found[f"{particles} particles: sd"] = float(losses[:200].std())
        colour = "0.75" if particles == 1 else "C0"
        axes.plot(
            losses,
            lw=0.6,
            color=colour,
            label=f"{particles} particle{'s' if particles > 1 else ''}",
        )
        print(f"{particles} particles, all steps made: {result.verdict.message}")
    axes.axhline(EVIDENCE, color="k", lw=1, label="minus log evidence")
    axes.set(xlabel="step", ylabel="loss", ylim=(14.3, 18.0))
    axes.legend()
    page.save(figure, "convergence")

    svi = SVI(model, beta_guide, optim.Adam(2e-3), Trace_ELBO(num_particles=32))
    # The most it may take; where it stops is up to the run.
    result = svi.run(key, page.steps(50_000), TOSSES, init_params=far, stop="auto")
    found["steps"] = len(result.losses)
    found["loss"] = float(result.losses[-200:].mean())
    print(f"stopped after {found['steps']:,} steps: {result.verdict.message}")
    return found


if __name__ == "__main__":
    main()
