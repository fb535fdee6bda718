"""The model that most checks are made against, and a guide that fits it."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

Y = np.random.default_rng(3).normal(1.0, 2.0, 20).astype(np.float32)


def model(y):
    a = numpyro.sample("a", dist.Normal(0.0, 10.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(5.0))
    with numpyro.plate("n", 20):
        numpyro.sample("y", dist.Normal(a, sigma), obs=y)


def positive(name, value=0.5):
    return numpyro.param(name, value, constraint=constraints.positive)


def guide_a():
    return numpyro.sample("a", dist.Normal(numpyro.param("loc", 0.0), positive("scale")))


def guide_sigma():
    return numpyro.sample("sigma", dist.LogNormal(numpyro.param("log_loc", 0.0), positive("sd")))


def guide(y):
    guide_a()
    guide_sigma()


def local_model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("n", 20, subsample_size=5) as rows:
        z = numpyro.sample("z", dist.Normal(mu, 1.0))
        numpyro.sample("y", dist.Normal(z, 1.0), obs=jnp.asarray(y)[rows])


def guide_mu():
    numpyro.sample("mu", dist.Normal(numpyro.param("mu_loc", 0.0), 1.0))


def plane():
    numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(0.0, 2.0))
