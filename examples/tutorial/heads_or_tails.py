"""Page 1. Heads or tails: a model, a guide, and what is optimised.

A coin shows 12 heads and 8 tails. How biased is it? With a flat prior on the probability p of heads
the answer is known: p follows a Beta distribution with parameters 13 and 9. So this is a good place
to watch variational inference at work: we know where it has to end.

Two programs are needed. The *model* says how data come about: draw p from the prior, then draw
every toss. The *guide* is a family of distributions of p with free parameters, among which the one
nearest to the posterior is looked for. "Nearest" is measured by the loss, minus the evidence lower
bound: it is never below minus the log evidence, here 14.788, and reaches it only if the guide is
the posterior itself.

Run it with `python heads_or_tails.py`; `--short` makes few steps.
"""

from collections.abc import Sequence

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import scipy.stats
from numpyro.distributions import constraints
from page import read_options

from taut.infer import SVI, Trace_ELBO, optim

TOSSES = np.array([1.0] * 12 + [0.0] * 8)


def model(tosses):
    """A flat prior on the bias, and one Bernoulli draw for each toss."""
    p = numpyro.sample("p", dist.Uniform(0.0, 1.0))
    with numpyro.plate("tosses", 20):
        numpyro.sample("heads", dist.Bernoulli(p), obs=tosses)


def beta_guide(tosses):
    """A Beta distribution: the family that holds the true posterior."""
    # The constraint is what keeps an optimiser, which knows no bounds, at positive values.
    a = numpyro.param("A", 10.0, constraint=constraints.positive)
    b = numpyro.param("B", 10.0, constraint=constraints.positive)
    numpyro.sample("p", dist.Beta(a, b))


def normal_guide(tosses):
    """A Normal distribution: near the posterior, but not quite of its shape.

    It also reaches outside [0, 1], where the model has no density. A draw from there, four standard
    deviations out, comes about once in 20,000 steps; such a step is passed over, and the verdict
    counts them.
    """
    mean = numpyro.param("mean", 0.5, constraint=constraints.unit_interval)
    sd = numpyro.param("sd", 0.1, constraint=constraints.positive)
    numpyro.sample("p", dist.Normal(mean, sd))


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Fit both guides, print what came out, and draw it beside the exact posterior."""
    page = read_options(arguments)
    key = jax.random.key(1)
    found = {}
    for name, guide, steps in (("Beta", beta_guide, 10_000), ("Normal", normal_guide, 50_000)):
        svi = SVI(model, guide, optim.Adam(5e-4), Trace_ELBO())
        result = svi.run(key, page.steps(steps), TOSSES)
        # One loss is one draw's, and noisy; a stretch of them is not.
        last = np.asarray(result.losses[-2000:])
        numbers = {n: float(v) for n, v in result.params.items()}
        found[name] = {**numbers, "loss": float(last[np.isfinite(last)].mean())}
        print(f"{name} guide: {found[name]}")
        print(f"  {result.verdict.message}")

    beta, normal = found["Beta"], found["Normal"]
    grid = np.linspace(0.0, 1.0, 400)
    figure, axes = plt.subplots(figsize=(6.5, 4.0))
    axes.plot(grid, scipy.stats.beta(13, 9).pdf(grid), "k", lw=3, alpha=0.3, label="posterior")
    axes.plot(grid, scipy.stats.beta(beta["A"], beta["B"]).pdf(grid), label="Beta guide")
    fitted = scipy.stats.norm(normal["mean"], normal["sd"]).pdf(grid)
    axes.plot(grid, fitted, "--", label="Normal guide")
    axes.set(xlabel="probability of heads", ylabel="density", xlim=(0, 1))
    axes.legend()
    page.save(figure, "heads_or_tails")
    return found


if __name__ == "__main__":
    main()
