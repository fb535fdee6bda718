"""Page 4. Two modes, turned: a guide made by hand.

The posterior has two ridges in a box: around a line through the origin at 45 degrees, five to each
side of it. One Gaussian can hold only one of them, so the guide is built from parts:

- `u` runs across the ridges. It is a mixture of two Normal distributions at -b and b.
- `v` runs along them, a Normal distribution.
- Turning (u, v) by an angle gives the point (x, y) of the model.

`u` and `v` are no sites of the model: they are marked auxiliary. `x` and `y` are, and follow from
`u` and `v` through `Delta`, a distribution that is all at one point. That is right because turning
keeps areas: a map that stretches would need its log Jacobian as `log_density` of the Delta.

Gradients do not pass through the choice of a component. For fixed weights, as here, none need to;
with the weight a param, the objective adds the term that is missing by itself.

The figure has the draws of the guide, over contours that hold 50 % and 90 % of the posterior.

Run it with `python rotated_modes.py`; `--short` makes few steps.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.infer.util import log_density
from page import read_options

from taut.infer import SVI, Predictive, Trace_ELBO, optim

ANGLE, PLACE, WIDTH, LENGTH = math.radians(45.0), 5.0, 0.5, 1.5


def ridges():
    """A box, and the log density of two ridges in it."""
    x = numpyro.sample("x", dist.Uniform(-10.0, 10.0))
    y = numpyro.sample("y", dist.Uniform(-10.0, 10.0))
    across = x * math.cos(ANGLE) + y * math.sin(ANGLE)
    along = y * math.cos(ANGLE) - x * math.sin(ANGLE)
    sides = jnp.stack([across - PLACE, across + PLACE])
    # Half of each, so that the two together weigh as much as one.
    numpyro.factor("across", jax.nn.logsumexp(-0.5 * (sides / WIDTH) ** 2) - math.log(2.0))
    numpyro.factor("along", -0.5 * (along / LENGTH) ** 2)


def guide():
    """Two modes on one axis, turned."""
    b = numpyro.param("b", 3.0, constraint=constraints.positive)
    sigma_1 = numpyro.param("sigma_1", 1.0, constraint=constraints.positive)
    sigma_2 = numpyro.param("sigma_2", 1.0, constraint=constraints.positive)
    angle = numpyro.param("angle", 0.5, constraint=constraints.interval(0.0, math.pi / 2))
    halves = dist.Categorical(jnp.array([0.5, 0.5]))
    modes = dist.MixtureGeneral(halves, [dist.Normal(-b, sigma_1), dist.Normal(b, sigma_1)])
    u = numpyro.sample("u", modes, infer={"is_auxiliary": True})
    v = numpyro.sample("v", dist.Normal(0.0, sigma_2), infer={"is_auxiliary": True})
    numpyro.sample("x", dist.Delta(u * jnp.cos(angle) - v * jnp.sin(angle)))
    numpyro.sample("y", dist.Delta(u * jnp.sin(angle) + v * jnp.cos(angle)))


def draw_posterior(axes, shares=(0.5, 0.9)):
    """Draw the contours that hold so much of the posterior, from its density on a grid."""
    line = jnp.linspace(-10.0, 10.0, 401)

    def at(x, y):
        return log_density(ridges, (), {}, {"x": x, "y": y})[0]

    density = np.exp(np.asarray(jax.vmap(jax.vmap(at, (0, None)), (None, 0))(line, line), float))
    highest = np.sort(density.ravel())[::-1]
    held = np.cumsum(highest) / highest.sum()
    levels = [highest[np.searchsorted(held, share)] for share in sorted(shares, reverse=True)]
    axes.contour(line, line, density, levels=levels, colors="black", linewidths=1.0)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit the guide, and draw it over the density."""
    page = read_options(arguments)
    svi = SVI(ridges, guide, optim.Adam(1e-3), Trace_ELBO(num_particles=16))
    result = svi.run(jax.random.key(4), page.steps(10_000))
    found = {name: float(value) for name, value in result.params.items()}
    found["angle"] = math.degrees(found["angle"])
    last = np.asarray(result.losses[-1000:])
    found["loss"] = float(last[np.isfinite(last)].mean())
    exact = math.log(400.0) - math.log(2 * math.pi * WIDTH * LENGTH)
    print({name: round(value, 3) for name, value in found.items()})
    print(f"minus the log evidence is {exact:.3f}; {result.verdict.message}")

    draws = Predictive(guide, params=result.params, num_samples=3000)(jax.random.key(0))
    figure, axes = plt.subplots(figsize=(4.5, 4.5))
    axes.plot(draws["x"], draws["y"], ".", ms=2, alpha=0.4, zorder=0)
    draw_posterior(axes)
    axes.set(xlabel="x", ylabel="y", xlim=(-10, 10), ylim=(-10, 10), aspect="equal")
    axes.set_title(
        "dots: draws of the guide; lines hold 50 % and 90 %\nof the posterior", fontsize=9
    )
    page.save(figure, "rotated_modes")
    return found


if __name__ == "__main__":
    main()
