"""Models that the tests of autoguides share."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

X = np.linspace(-1.0, 1.0, 6)
Y = np.array([-0.9, -0.4, 0.2, 0.1, 0.9, 1.1])


def mixed_supports(x, y=None):
    """Sites on the line, the half-line and a simplex, and a deterministic one."""
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    w = numpyro.sample("w", dist.Dirichlet(jnp.ones(3)))
    with numpyro.plate("two", 2):
        u = numpyro.sample("u", dist.Uniform(0.0, 2.0))
    line = numpyro.deterministic("line", a * x + w[0] + u.sum())
    with numpyro.plate("rows", len(x)):
        numpyro.sample("y", dist.Normal(line, s), obs=y)


def chained_supports(y=None):
    """A site whose support depends on another site."""
    top = numpyro.sample("top", dist.LogNormal(0.0, 0.3))
    low = numpyro.sample("low", dist.Uniform(0.0, top))
    numpyro.sample("y", dist.Normal(low, 0.5), obs=y)


def two_normals(y=None):
    """Two correlated latents on the line, an improper prior and a factor for the rest."""
    improper = dist.ImproperUniform(dist.constraints.real, (), ())
    u = numpyro.sample("u", improper)
    v = numpyro.sample("v", improper)
    # Standard deviations 1 and 3 along axes turned by 45 degrees.
    along, across = (u + v) / jnp.sqrt(2.0), (v - u) / jnp.sqrt(2.0)
    numpyro.factor("target", -0.5 * ((along / 3.0) ** 2 + across**2))


def members(y):
    """Three members that share nothing, each with two sites."""
    with numpyro.plate("member", 3):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        s = numpyro.sample("s", dist.LogNormal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu, s), obs=y)


def vector_members(y):
    """Three members that share nothing, each with one site of two numbers."""
    with numpyro.plate("member", 3):
        mu = numpyro.sample("mu", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        numpyro.sample("y", dist.Normal(mu.sum(-1), 0.5), obs=y)


def local_latents(y, size=12):
    """A latent for each row of a subsampled plate."""
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    with numpyro.plate("rows", size, subsample_size=4) as rows:
        t = numpyro.sample("t", dist.LogNormal(0.0, s))
        numpyro.sample("y", dist.Normal(t, 1.0), obs=jnp.asarray(y)[rows])


def unique_groups(index, y=None):
    """A model that must see which groups there are."""
    count = len(np.unique(index))
    with numpyro.plate("groups", count):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", len(index)):
        numpyro.sample("y", dist.Normal(mu[index], 1.0), obs=y)


def hierarchy(y=None):
    """Groups around a population mean."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("groups", len(PAIR) if y is None else len(y)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


PAIR = np.array([1.0, 2.0])
EIGHT = np.array([2.8, 0.8, -0.3, 0.7, -0.1, 0.1, 1.8, 1.2])


def global_model():
    """The global part of a model with members."""
    return numpyro.sample("centre", dist.Normal(0.0, 1.0))


def local_model(centre):
    """The members, three of eight at a time."""
    with numpyro.plate("members", 8, subsample_size=3) as chosen:
        spread = numpyro.sample("spread", dist.Gamma(5.0, 5.0))
        shift = numpyro.sample("shift", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        data = jnp.asarray(EIGHT)[chosen]
        numpyro.sample("obs", dist.Normal(centre + shift.sum(-1), spread), obs=data)


def whole_model():
    """Both parts."""
    local_model(global_model())
