"""Page 5. A guide made from the model: `AutoMultivariateNormal`.

Most guides need not be written. An autoguide reads the model and makes one; here a Gaussian with a
full covariance, so that correlations are kept. The posterior is an ellipse: standard deviations 3
and 1 along axes that are turned by 45 degrees. It is given as a `factor`, a bare log density, on
two coordinates with no prior at all (`ImproperUniform`). The guide's family holds this posterior,
so the loss can reach minus the log of its integral, -log(6 pi) = -2.937.

The fitted covariance comes back in pieces: `params["auto_scale_tril"]` is the lower triangular
matrix whose product with its transpose is the covariance. Beware: that is the covariance of the
*unconstrained* coordinates. Here they are the model's own, because the sites are unbounded. If a
site were positive, they would be those of its logarithm. `guide.covariance(params)` gives the
matrix in the model's coordinates whatever the supports are, which the second model shows.

Run it with `python full_rank_guide.py`; `--short` makes few steps.
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
from page import read_options

from taut.infer import SVI, Predictive, Trace_ELBO, autoguide, optim

ANGLE, LONG, SHORT = math.radians(45.0), 3.0, 1.0


def ellipse():
    """Two coordinates without a prior; all that is known of them is one log density."""
    x = numpyro.sample("x", dist.ImproperUniform(constraints.real, (), ()))
    y = numpyro.sample("y", dist.ImproperUniform(constraints.real, (), ()))
    along = x * math.cos(ANGLE) + y * math.sin(ANGLE)
    across = y * math.cos(ANGLE) - x * math.sin(ANGLE)
    numpyro.factor("ellipse", -0.5 * (along / LONG) ** 2 - 0.5 * (across / SHORT) ** 2)


def sizes(heights):
    """Two positive quantities, of which mostly the product is known."""
    width = numpyro.sample("width", dist.LogNormal(0.0, 1.0))
    length = numpyro.sample("length", dist.LogNormal(0.0, 1.0))
    numpyro.sample("area", dist.Normal(width * length, 0.3), obs=heights)


def axes_of(covariance) -> tuple[float, float, float]:
    """Return both standard deviations along the axes, and the angle of the longer in degrees."""
    variances, directions = np.linalg.eigh(np.asarray(covariance))
    angle = math.degrees(math.atan2(directions[1, 1], directions[0, 1])) % 180.0
    return math.sqrt(variances[0]), math.sqrt(variances[1]), angle


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit the ellipse, read its axes off the params, and show what coordinates they are in."""
    page = read_options(arguments)
    key, draw_key = jax.random.split(jax.random.key(5))
    guide = autoguide.AutoMultivariateNormal(ellipse)
    svi = SVI(ellipse, guide, optim.Adam(2e-3), Trace_ELBO(num_particles=8))
    result = svi.run(key, page.steps(10_000))
    tril = result.params["auto_scale_tril"]
    short, long, angle = axes_of(tril @ tril.T)
    loss = float(result.losses[-1000:].mean())
    print(f"standard deviations {short:.3f} and {long:.3f}, angle {angle:.1f}, loss {loss:.3f}")
    print(f"  {result.verdict.message}")

    positive = autoguide.AutoMultivariateNormal(sizes)
    areas = jnp.array([2.1, 1.8, 2.2])
    fitted = SVI(sizes, positive, optim.Adam(5e-3), Trace_ELBO(num_particles=8))
    params = fitted.run(key, page.steps(5000), areas).params
    tril = params["auto_scale_tril"]
    print("covariance of the logarithms, from auto_scale_tril:")
    print(np.round(tril @ tril.T, 3))
    print("covariance of width and length themselves:")
    print(np.round(positive.covariance(params), 3))

    draws = Predictive(guide, params=result.params, num_samples=2000)(draw_key)
    figure, plot = plt.subplots(figsize=(4.5, 4.5))
    plot.plot(draws["x"], draws["y"], ".", ms=2, alpha=0.4)
    turn = np.linspace(0.0, 2.0 * np.pi, 200)
    for size in (1.0, 2.0):
        along, across = size * LONG * np.cos(turn), size * SHORT * np.sin(turn)
        plot.plot(
            along * math.cos(ANGLE) - across * math.sin(ANGLE),
            along * math.sin(ANGLE) + across * math.cos(ANGLE),
            "k",
            lw=1,
        )
    plot.set(xlabel="x", ylabel="y", aspect="equal")
    page.save(figure, "full_rank_guide")
    return {"short": short, "long": long, "angle": angle, "loss": loss}


if __name__ == "__main__":
    main()
