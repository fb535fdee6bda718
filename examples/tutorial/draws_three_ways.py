"""Page 2. Draws, three ways.

A fitted guide is a set of parameters. To plot a posterior or to predict, one wants draws, and
`Predictive` makes them in three ways:

1. `Predictive(guide, params=..., num_samples=n)` runs the guide alone: draws of the latents.
2. `Predictive(model, guide=guide, params=..., num_samples=n)` runs the guide, then the model on
   what the guide drew: predictions, in one go.
3. `Predictive(model, posterior_samples)` runs the model on draws that are already there, from a
   guide, from NUTS, or from a file.

In the second and third way pass None for what was observed. A site that still has its data returns
these data, which is rarely what was meant (`Predictive` warns of it).

Run it with `python draws_three_ways.py`; `--short` makes few steps.
"""

from collections.abc import Sequence

import jax
import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
from heads_or_tails import TOSSES, beta_guide, model
from page import read_options

from taut.infer import SVI, Predictive, Trace_ELBO, optim

DRAWS = 5000


def main(arguments: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Fit the Beta guide, draw in three ways, and compare."""
    page = read_options(arguments)
    svi = SVI(model, beta_guide, optim.Adam(5e-4), Trace_ELBO())
    params = svi.run(jax.random.key(1), page.steps(10_000), TOSSES).params
    keys = jax.random.split(jax.random.key(2), 3)

    from_guide = Predictive(beta_guide, params=params, num_samples=DRAWS)(keys[0], None)
    at_once = Predictive(model, guide=beta_guide, params=params, num_samples=DRAWS)(keys[1], None)
    # The same latents can be reused: the model is run on the draws of the first way.
    in_turn = Predictive(model, from_guide)(keys[2], None)

    heads = {
        "model and guide": np.asarray(at_once["heads"]).sum(axis=1),
        "model on draws": np.asarray(in_turn["heads"]).sum(axis=1),
    }
    print("draws of p:", from_guide["p"].shape, "tosses predicted:", at_once["heads"].shape)
    for name, count in heads.items():
        print(f"{name}: {count.mean():.2f} heads of 20, sd {count.std():.2f}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.6))
    grid = np.linspace(0.0, 1.0, 300)
    left.hist(np.asarray(from_guide["p"]), bins=50, density=True, alpha=0.5, label="guide")
    left.plot(grid, scipy.stats.beta(13, 9).pdf(grid), "k", label="posterior")
    left.set(xlabel="probability of heads", ylabel="density")
    left.legend()
    bins = np.arange(22) - 0.5
    for name, count in heads.items():
        right.hist(count, bins=bins, density=True, histtype="step", label=name)
    right.axvline(12, color="k", lw=1, label="observed")
    right.set(xlabel="heads in twenty new tosses")
    right.legend(loc="upper left", fontsize="small", frameon=False)
    page.save(figure, "draws_three_ways")
    return {"p": np.asarray(from_guide["p"]), **heads}


if __name__ == "__main__":
    main()
