"""Pairs of model and guide that the tests of the objectives share, with fixed params."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions import constraints

Y = jnp.array([0.3, -0.8, 1.9, 0.4, 1.1, -0.2])


def location(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def location_guide(y):
    loc = numpyro.param("loc", 0.2)
    scale = numpyro.param("scale", 0.5, constraint=constraints.positive)
    numpyro.sample("mu", dist.Normal(loc, scale))


def hierarchy(y):
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("rows", len(y)):
        theta = numpyro.sample("theta", dist.Normal(0.0, tau))
        with handlers.mask(mask=np.arange(len(y)) != 2):
            numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def hierarchy_guide(y):
    a = numpyro.param("a", 0.1)
    loc = numpyro.param("theta_loc", jnp.linspace(-1.0, 1.0, len(y)))
    tau = numpyro.sample("tau", dist.LogNormal(a, 0.3))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("theta", dist.Normal(loc * tau, 0.7))


def subsampled(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    with numpyro.plate("rows", len(y), subsample_size=3) as index:
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[index])


def local(y):
    with numpyro.plate("rows", len(y), subsample_size=3):
        batch = numpyro.subsample(y, event_dim=0)
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(z, 0.5), obs=batch)


def local_guide(y):
    slope = numpyro.param("slope", 0.5)
    with numpyro.plate("rows", len(y), subsample_size=3):
        batch = numpyro.subsample(y, event_dim=0)
        numpyro.sample("z", dist.Normal(slope * batch, 0.6))


def ridge(y):
    x = numpyro.sample("x", dist.Uniform(-10.0, 10.0))
    numpyro.factor("ridge", -0.5 * (x - 2.0) ** 2)


def ridge_guide(y):
    scale = numpyro.param("scale", 1.3, constraint=constraints.positive)
    u = numpyro.sample("u", dist.Normal(0.0, scale), infer={"is_auxiliary": True})
    numpyro.sample("x", dist.Delta(u + 1.5))


def improper(y):
    x = numpyro.sample("x", dist.ImproperUniform(constraints.real, (), (2,)))
    numpyro.factor("hill", -0.5 * jnp.sum((x - 1.0) ** 2))


def improper_guide(y):
    loc = numpyro.param("loc", jnp.array([0.3, 0.8]))
    numpyro.sample("x", dist.Normal(loc, 0.7).to_event(1))


def weights(y):
    p = numpyro.sample("p", dist.Beta(2.0, 2.0))
    numpyro.sample("count", dist.Binomial(10, p), obs=7)


def weights_guide(y):
    a = numpyro.param("a", 3.0, constraint=constraints.positive)
    numpyro.sample("p", dist.Beta(a, 2.0))


def repeated(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    theta = numpyro.sample("theta", dist.Normal(mu, 1.0), sample_shape=(3,))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Normal(jnp.repeat(theta, 2), 1.0), obs=y)


def repeated_guide(y):
    loc = numpyro.param("loc", 0.3)
    numpyro.sample("mu", dist.Normal(loc, 0.5))
    place = numpyro.param("place", jnp.array([0.1, 0.2, -0.4]))
    numpyro.sample("theta", dist.Normal(place, 0.6))


PAIRS = {
    "location": (location, location_guide),
    "hierarchy": (hierarchy, hierarchy_guide),
    "subsampled": (subsampled, location_guide),
    "local": (local, local_guide),
    "auxiliary": (ridge, ridge_guide),
    "improper": (improper, improper_guide),
    "beta": (weights, weights_guide),
    "repeated": (repeated, repeated_guide),
}


def param_values(guide):
    """Values of a guide's params, at their start."""
    trace = handlers.trace(handlers.seed(guide, 0)).get_trace(Y)
    return {n: jnp.asarray(s["value"]) for n, s in trace.items() if s["type"] == "param"}
