"""Page 7. A hierarchy of eight groups: from a diagonal Gaussian to flows and annealing.

Each group has a slope and an offset of its own, drawn from a population. The population's spreads
make such posteriors hard: where a spread is small, the groups' values are held close together;
where it is large, they are free. So the posterior is a funnel in every pair of a spread and a
member, and no Gaussian is one. Five guides, each with more freedom than the one before:

- `AutoDiagonalNormal` and `AutoMultivariateNormal`, Gaussian on unconstrained coordinates;
- `AutoIAFNormal`, noise carried through inverse autoregressive flows. Its draws are cheap;
- `AutoBNAFNormal`, one block neural autoregressive flow: a monotone network for each coordinate;
- `AutoDAIS`, draws of a Gaussian moved towards the posterior in 16 steps of an annealed Hamiltonian
  dynamics. It needs the gradient of the model in every one of them, so it is the dearest. Far from
  the posterior its paths may run away, so its Gaussian starts where the diagonal guide has ended.
  `stable_update=True` passes over steps that are not finite.

Each loss is the average of the last tenth of all steps; `num_particles=100` makes a single one
noisy by a few hundredths. A lower loss is a better guide: the difference of two losses is the
difference of their divergences from the posterior, in nats. NUTS says what there was to find.

Two figures: slope and offset of every group, and the population with all guides.

Run it with `python eight_groups.py`; `--short` makes few steps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from page import read_options

import taut
from taut.infer import MCMC, NUTS, SVI, Trace_ELBO, autoguide, optim

GROUPS = 8
POPULATION = ("slope_mean", "slope_sd", "offset_mean", "offset_sd")
TRUTH = {"slope_mean": 0.5, "slope_sd": 0.2, "offset_mean": 10.0, "offset_sd": 1.0}


def model(group, x, error, y=None):
    """A straight line in each group, and a population of lines."""
    slope_mean = numpyro.sample("slope_mean", dist.Normal(0.0, 15.0))
    slope_sd = numpyro.sample("slope_sd", dist.HalfNormal(10.0))
    offset_mean = numpyro.sample("offset_mean", dist.Normal(0.0, 25.0))
    offset_sd = numpyro.sample("offset_sd", dist.HalfNormal(15.0))
    with numpyro.plate("groups", GROUPS):
        slope = numpyro.sample("slope", dist.Normal(slope_mean, slope_sd))
        offset = numpyro.sample("offset", dist.Normal(offset_mean, offset_sd))
    with numpyro.plate("points", len(x)):
        numpyro.sample("y", dist.Normal(slope[group] * x + offset[group], error), obs=y)


def simulate(seed: int) -> dict[str, np.ndarray]:
    """Twelve points in each group, with errors as large as the spread of the offsets."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS), 12)
    x = rng.uniform(-10.0, 10.0, group.size)
    slope = TRUTH["slope_mean"] + TRUTH["slope_sd"] * rng.standard_normal(GROUPS)
    offset = TRUTH["offset_mean"] + TRUTH["offset_sd"] * rng.standard_normal(GROUPS)
    error = np.full(group.size, 2.5)
    y = slope[group] * x + offset[group] + error * rng.standard_normal(group.size)
    return {"group": group, "x": x, "error": error, "y": y}


# Each with a step size of Adam: the Gaussians have a long way to go.
GUIDES = {
    "diagonal": (autoguide.AutoDiagonalNormal, {}, 0.02),
    "full rank": (autoguide.AutoMultivariateNormal, {}, 0.02),
    "IAF": (autoguide.AutoIAFNormal, {}, 0.005),
    "BNAF": (autoguide.AutoBNAFNormal, {}, 0.005),
    "DAIS": (autoguide.AutoDAIS, {"K": 16}, 0.01),
}


def annealing_start(diagonal: Mapping[str, Any]) -> dict[str, Any]:
    """Return params for `AutoDAIS` to start from: the Gaussian of a diagonal guide."""
    return {"auto_z_0_loc": diagonal["auto_loc"], "auto_z_0_scale": diagonal["auto_scale"]}


def draw_groups(draws: Mapping[str, Mapping[str, Any]]) -> Any:
    """Draw the medians and central 90 % of every group's slope and offset, for each method."""
    figure, rows = plt.subplots(2, 1, figsize=(8.0, 6.0), sharex=True, layout="constrained")
    shifts = np.linspace(-0.3, 0.3, len(draws))
    for axes, site in zip(rows, ("slope", "offset"), strict=True):
        for i, (name, drawn) in enumerate(draws.items()):
            low, middle, high = np.quantile(drawn[site], [0.05, 0.5, 0.95], axis=0)
            axes.errorbar(
                np.arange(GROUPS) + shifts[i],
                middle,
                yerr=[middle - low, high - middle],
                fmt="o",
                ms=3,
                lw=1,
                color="k" if name == "NUTS" else f"C{i}",
                label=name,
            )
        axes.set_ylabel(site)
    handles, labels = rows[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(draws), frameon=False)
    rows[1].set_xlabel("group")
    return figure


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit five guides and run NUTS; compare losses, groups and population."""
    page = read_options(arguments)
    key, draw_key, nuts_key = jax.random.split(jax.random.key(7), 3)
    data = simulate(0)
    steps = page.steps(5000)

    nuts = MCMC(
        NUTS(model, target_accept_prob=0.95),
        num_warmup=200 if page.short else 2000,
        num_samples=page.steps(20_000),
        progress_bar=False,
    )
    nuts.run(nuts_key, **data)
    draws, losses, fitted = {"NUTS": nuts.get_samples()}, {}, {}
    for name, (kind, options, rate) in GUIDES.items():
        guide = kind(model, **options)
        svi = SVI(
            model, guide, optim.Adam(rate), Trace_ELBO(num_particles=4 if page.short else 100)
        )
        start = annealing_start(fitted["diagonal"]) if name == "DAIS" else None
        result = svi.run(key, steps, **data, init_params=start, stable_update=True)
        fitted[name] = result.params
        losses[name] = float(np.nanmean(result.losses[-steps // 10 :]))
        draws[name] = guide.sample_posterior(draw_key, result.params, sample_shape=(4000,))
        print(f"{name}: loss {losses[name]:.2f}; {result.verdict.message}")
    comparison = taut.compare(draws)
    for name in GUIDES:
        away, ratio = comparison.worst(name)
        print(f"{name}: means at most {away:.2f} sd from NUTS, worst ratio of sds {ratio:.2f}")

    page.save(draw_groups(draws), "eight_groups")
    page.save(comparison.corner(POPULATION, truth=TRUTH), "eight_groups_population")
    return losses


if __name__ == "__main__":
    main()
