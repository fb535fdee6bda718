"""The integral of a target's density over R^dim is the evidence of a conjugate model."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.special as sp
import scipy.stats as st

import taut

pytestmark = pytest.mark.usefixtures("double_precision")


def normal_mean(y):
    m = numpyro.sample("m", dist.Normal(1.0, 2.0))
    numpyro.sample("y", dist.Normal(m, 0.5), obs=y)


def poisson_rate(y):
    rate = numpyro.sample("rate", dist.Gamma(3.0, 2.0))
    numpyro.sample("y", dist.Poisson(rate), obs=y)


def coin(y):
    p = numpyro.sample("p", dist.Beta(2.0, 3.0))
    numpyro.sample("y", dist.Binomial(10, p), obs=y)


def width(y):
    # A uniform width: the support of the data is a bound on the latent.
    scale = numpyro.sample("scale", dist.Uniform(2.0, 5.0))
    numpyro.sample("y", dist.Exponential(1.0 / scale), obs=y)


def _normal_evidence(y):
    cov = 0.25 * np.eye(len(y)) + 4.0
    return st.multivariate_normal(np.ones(len(y)), cov).logpdf(y)


def _poisson_evidence(y):
    a, b = 3.0 + y.sum(), 2.0 + len(y)
    return (
        3.0 * np.log(2.0)
        - sp.gammaln(3.0)
        + sp.gammaln(a)
        - a * np.log(b)
        - (sp.gammaln(y + 1.0).sum())
    )


def _coin_evidence(y):
    return st.betabinom.logpmf(y, 10, 2.0, 3.0)


def _width_evidence(y):
    # The substitution u = 1 / scale leaves an incomplete gamma function.
    n, total = len(y), y.sum()
    shares = sp.gammainc(n - 1, total / 2.0) - sp.gammainc(n - 1, total / 5.0)
    return np.log(shares / 3.0) + sp.gammaln(n - 1) - (n - 1) * np.log(total)


CASES = {
    "normal": (normal_mean, np.array([0.3, 1.4, 2.0]), _normal_evidence),
    "poisson": (poisson_rate, np.array([2, 0, 3, 1]), _poisson_evidence),
    "binomial": (coin, np.array(7), _coin_evidence),
    "bounded": (width, np.array([1.0, 4.0, 2.5, 3.1]), _width_evidence),
}


@pytest.mark.parametrize("name", CASES)
def test_the_density_integrates_to_the_evidence(name, same_to_rounding):
    # On the real line the trapezoid rule is exact to rounding for smooth densities like these.
    model, y, evidence = CASES[name]
    target = taut.target(model, y)
    grid = jnp.linspace(-60.0, 60.0, 20001)[:, None]
    total = sp.logsumexp(jax.vmap(target.log_density)(grid)) + np.log(grid[1, 0] - grid[0, 0])
    same_to_rounding(total, evidence(y))
