"""A straight line through points of which some are outliers.

Each point belongs either to the line or to a broad background, and the model sums over the two
cases, so that no point has to be thrown out by hand. The line is given by its angle and its
perpendicular distance from the origin, which treats steep and shallow lines alike; the slope and
the intercept follow from them. All numbers are in the units of the data.

Source of the data and of the idea: D. W. Hogg, J. Bovy and D. Lang (2010), "Data analysis
recipes: Fitting a model to data", arXiv:1008.4686, table 1, sections 3 and 7.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(x, sigma_y, y=None):
    theta = numpyro.sample("theta", dist.Uniform(-jnp.pi / 2, jnp.pi / 2))
    b_perp = numpyro.sample("b_perp", dist.Normal(0.0, 300.0))
    slope = numpyro.deterministic("slope", jnp.tan(theta))
    intercept = numpyro.deterministic("intercept", b_perp / jnp.cos(theta))

    outlier_fraction = numpyro.sample("outlier_fraction", dist.Beta(1.0, 3.0))
    background_mean = numpyro.sample("background_mean", dist.Normal(400.0, 200.0))
    background_sd = numpyro.sample("background_sd", dist.HalfNormal(200.0))

    line = dist.Normal(slope * x + intercept, sigma_y)
    background = dist.Normal(background_mean, jnp.sqrt(background_sd**2 + sigma_y**2))
    shares = dist.Categorical(probs=jnp.stack([1.0 - outlier_fraction, outlier_fraction]))
    with numpyro.plate("points", len(x)):
        numpyro.sample("y", dist.MixtureGeneral(shares, [line, background]), obs=y)
