"""Page 6. A line with outliers: three guides beside NUTS, and a second data set.

Points lie on a line, but for a few that come from a broad background. The model sums over the two
cases for every point. Its five latents are fitted with three guides:

- *full rank*: one Gaussian with all correlations, on unconstrained coordinates;
- *diagonal*: the same without correlations;
- *hand-made*: a distribution for each latent, chosen by eye.

Where a run starts matters: from a random point the diagonal guide may end in a worse solution, in
which most points are outliers, with a loss twice as high. `init_to_median` starts at the medians of
the prior.

A Normal distribution is the obvious choice for each latent of the last. Three of them are bounded,
though: a Normal guide for `background_sd` draws negative values now and then, where the model has
no density. Such draws have a loss of infinity, nothing can be learnt from them, and the run says
so. `taut.guides.on_support(normal, constraint)` is the same Normal carried onto the support by a
smooth map, its density included. It mends a site in one line, and `taut.check` names each site that
needs it.

None of the three need be right, so draws of all are laid over those of NUTS. `taut.compare` takes
dicts of draws, from wherever they come.

Fitted params are good starting points. A second data set that looks like the first starts at the
end of the first run, with `init_params`, and nothing is traced or compiled for it.

Run it with `python line_with_outliers.py`; `--short` makes few steps.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.infer.initialization import init_to_median
from page import read_options

import taut
from taut.guides import on_support
from taut.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, autoguide, optim

LATENTS = ("theta", "b_perp", "background_mean", "background_sd", "share")
TRUTH = {"theta": math.pi / 4, "b_perp": 0.0, "background_mean": 0.0, "background_sd": 1.0}
ANGLES = constraints.interval(-math.pi / 2, math.pi / 2)


def model(x, yerr, y=None):
    """A line given by its angle and its distance from the origin, and a background."""
    theta = numpyro.sample("theta", dist.Uniform(-0.5 * jnp.pi, 0.5 * jnp.pi))
    b_perp = numpyro.sample("b_perp", dist.Normal(0.0, 1.0))
    background_mean = numpyro.sample("background_mean", dist.Normal(0.0, 1.0))
    background_sd = numpyro.sample("background_sd", dist.HalfNormal(3.0))
    share = numpyro.sample("share", dist.Uniform(0.0, 1.0))
    line = dist.Normal(jnp.tan(theta) * x + b_perp / jnp.cos(theta), yerr)
    background = dist.Normal(background_mean, jnp.sqrt(background_sd**2 + yerr**2))
    cases = dist.Categorical(probs=jnp.array([share, 1.0 - share]))
    with numpyro.plate("points", len(x)):
        numpyro.sample("y", dist.MixtureGeneral(cases, [line, background]), obs=y)


def simulate(seed: int) -> dict[str, np.ndarray]:
    """Fifteen points on the line y = x, every fifth of them from the background."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-1.0, 3.0, 15))
    yerr = np.full(15, 0.2)
    y = x + yerr * rng.standard_normal(15)
    outlier = np.arange(15) % 5 == 2
    y[outlier] = np.sqrt(1.0 + 0.2**2) * rng.standard_normal(outlier.sum())
    return {"x": x, "yerr": yerr, "y": y}


def normal(name: str, loc: float, scale: float) -> dist.Normal:
    """A Normal distribution with two params."""
    return dist.Normal(
        numpyro.param(f"{name}_loc", loc),
        numpyro.param(f"{name}_scale", scale, constraint=constraints.positive),
    )


def all_normal(x, yerr, y=None):
    """A first attempt: every latent is Normal, also where the model says that it is bounded."""
    numpyro.sample("theta", normal("theta", 0.8, 0.1))
    numpyro.sample("b_perp", normal("b_perp", 0.0, 0.1))
    numpyro.sample("background_mean", normal("background_mean", 0.0, 0.5))
    numpyro.sample("background_sd", normal("background_sd", 1.0, 0.5))
    numpyro.sample("share", normal("share", 0.5, 0.2))


def hand_made(x, yerr, y=None):
    """The same, with the bounded latents on their supports."""
    numpyro.sample("theta", on_support(normal("theta", 0.0, 0.5), ANGLES))
    numpyro.sample("b_perp", normal("b_perp", 0.0, 0.1))
    numpyro.sample("background_mean", normal("background_mean", 0.0, 0.5))
    positive_sd = on_support(normal("background_sd", 0.0, 0.5), constraints.positive)
    numpyro.sample("background_sd", positive_sd)
    numpyro.sample("share", on_support(normal("share", 0.0, 0.5), constraints.unit_interval))


GUIDES = {
    "full rank": lambda: autoguide.AutoMultivariateNormal(model, init_loc_fn=init_to_median),
    "diagonal": lambda: autoguide.AutoDiagonalNormal(model, init_loc_fn=init_to_median),
    "hand-made": lambda: hand_made,
}


def make_svi(guide: Any) -> SVI:
    """Put together what is the same for every guide."""
    return SVI(model, guide, optim.Adam(5e-3), Trace_ELBO(num_particles=8))


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit three guides and run NUTS, draw all over each other, and go on to a second data set."""
    page = read_options(arguments)
    key, draw_key, nuts_key = jax.random.split(jax.random.key(6), 3)
    data = simulate(1)

    print(taut.check(model, all_normal, **data))
    if not page.short:
        wrong = make_svi(all_normal).run(key, 10_000, **data)
        print(f"all Normal: {wrong.verdict.message}\n")

    found, draws, fitted = {}, {}, {}
    nuts = MCMC(
        NUTS(model),
        num_warmup=200 if page.short else 1000,
        num_samples=page.steps(20_000),
        progress_bar=False,
    )
    nuts.run(nuts_key, **data)
    draws["NUTS"] = nuts.get_samples()
    for name, make in GUIDES.items():
        guide = make()
        result = make_svi(guide).run(key, page.steps(10_000), **data)
        fitted[name] = result.params
        found[name] = float(result.losses[-page.steps(2000) // 2 :].mean())
        predictive = Predictive(guide, params=result.params, num_samples=4000)
        drawn = predictive(draw_key, **data)
        draws[name] = {site: drawn[site] for site in LATENTS}
        print(f"{name}: loss {found[name]:.2f}; {result.verdict.message}")
    comparison = taut.compare(draws)
    print(comparison)
    page.save(comparison.corner(LATENTS, truth=TRUTH), "line_with_outliers")

    other = simulate(2)
    for name, start in (("afresh", None), ("pre-trained", fitted["full rank"])):
        # A new guide and a new SVI, as in another cell of a notebook: compiled code is shared.
        svi = make_svi(GUIDES["full rank"]())
        began = time.perf_counter()
        result = svi.run(key, page.steps(2000), **other, init_params=start)
        seconds = time.perf_counter() - began
        early = found[f"{name}, early"] = float(result.losses[:100].mean())
        late = found[f"{name}, late"] = float(result.losses[-100:].mean())
        print(
            f"second data set, {name}: loss {early:.1f} over the first 100 steps, {late:.1f} over "
            f"the last, {seconds:.2f} s"
        )
    return found


if __name__ == "__main__":
    main()
