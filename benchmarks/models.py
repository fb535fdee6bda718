"""The two models speed is measured on: a line with outliers and a hierarchy of eight groups."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist


def outliers(x, yerr, y=None):
    """A straight line in angle and perpendicular offset, with a background for outliers."""
    theta = numpyro.sample("theta", dist.Uniform(-0.5 * jnp.pi, 0.5 * jnp.pi))
    b_perp = numpyro.sample("b_perp", dist.Normal(0.0, 1.0))
    slope = numpyro.deterministic("slope", jnp.tan(theta))
    intercept = numpyro.deterministic("intercept", b_perp / jnp.cos(theta))
    background_mean = numpyro.sample("background_mean", dist.Normal(0.0, 1.0))
    background_sd = numpyro.sample("background_sd", dist.HalfNormal(3.0))
    share = numpyro.sample("share", dist.Uniform(0.0, 1.0))
    line = dist.Normal(slope * x + intercept, yerr)
    background = dist.Normal(background_mean, jnp.sqrt(background_sd**2 + yerr**2))
    mixture = dist.Categorical(probs=jnp.array([share, 1.0 - share]))
    with numpyro.plate("data", len(x)):
        numpyro.sample("obs", dist.MixtureGeneral(mixture, [line, background]), obs=y)


def hierarchy(group, x, error, y=None):
    """Eight groups with their own slope and offset around a common one, centred."""
    groups = len(np.unique(group))
    slope_mean = numpyro.sample("slope_mean", dist.Normal(0.0, 15.0))
    slope_sd = numpyro.sample("slope_sd", dist.HalfNormal(10.0))
    offset_mean = numpyro.sample("offset_mean", dist.Normal(0.0, 25.0))
    offset_sd = numpyro.sample("offset_sd", dist.HalfNormal(15.0))
    slope = numpyro.sample("slope", dist.Normal(slope_mean, slope_sd), sample_shape=(groups,))
    offset = numpyro.sample("offset", dist.Normal(offset_mean, offset_sd), sample_shape=(groups,))
    with numpyro.plate("samples", len(x)):
        numpyro.sample("y", dist.Normal(slope[group] * x + offset[group], error), obs=y)


def outliers_data(seed: int) -> dict[str, Any]:
    """Fifteen points on y = x, about a fifth of them outliers."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-2.0, 2.0, 15))
    yerr = np.full(15, 0.2)
    y = x + yerr * rng.standard_normal(15)
    bad = np.arange(15) % 5 == 2
    y[bad] = np.sqrt(1.0 + 0.04) * rng.standard_normal(bad.sum())
    return {"x": x, "yerr": yerr, "y": y}


def hierarchy_data(seed: int) -> dict[str, Any]:
    """Twelve points in each of eight groups."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(8), 12)
    x = rng.uniform(-10.0, 10.0, group.size)
    slope, offset = 0.5 + 0.2 * rng.standard_normal(8), 10.0 + rng.standard_normal(8)
    error = 2.5 * (1.0 + rng.poisson(1000, group.size) / 1000) / 2
    y = slope[group] * x + offset[group] + error * rng.standard_normal(group.size)
    return {"group": group, "x": x, "error": error, "y": y}


MODELS = {"outliers": (outliers, outliers_data), "hierarchy": (hierarchy, hierarchy_data)}
