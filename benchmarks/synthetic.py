"""Posteriors whose moments are known exactly, easy and hard, and models to simulate data from."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

Moments = dict[str, tuple[Any, Any]]


def _independent(make: Callable[[], Any], mean: Any, sd: Any) -> tuple[Callable, Moments]:
    def model() -> None:
        numpyro.sample("x", make())

    return model, {"x": (mean, sd)}


def _gaussian() -> tuple[Callable, Moments]:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(100, 100)))[0]
    covariance = (basis * np.logspace(-3, 3, 100)) @ basis.T
    root = np.linalg.cholesky(covariance)

    def make() -> Any:
        return dist.MultivariateNormal(jnp.zeros(100), scale_tril=jnp.asarray(root))

    return _independent(make, np.zeros(100), np.sqrt(np.diag(covariance)))


def _funnel() -> tuple[Callable, Moments]:
    def model() -> None:
        v = numpyro.sample("v", dist.Normal(0.0, 3.0))
        numpyro.sample("x", dist.Normal(0.0, jnp.exp(v / 2.0)).expand([9]).to_event(1))

    return model, {"v": (0.0, 3.0)}


def _banana() -> tuple[Callable, Moments]:
    def model() -> None:
        a = numpyro.sample("a", dist.Normal(0.0, 10.0))
        numpyro.sample("b", dist.Normal(0.03 * (a**2 - 100.0), 1.0))

    return model, {"a": (0.0, 10.0), "b": (0.0, np.sqrt(1.0 + 0.03**2 * 2.0 * 1e4))}


def _modes(means: np.ndarray, shares: list[float]) -> tuple[Callable, Moments]:
    def model() -> None:
        parts = dist.MultivariateNormal(jnp.asarray(means), jnp.eye(means.shape[1]))
        mixing = dist.Categorical(jnp.array(shares))
        numpyro.sample("x", dist.MixtureSameFamily(mixing, parts))

    mean = np.array(shares) @ means
    return model, {"x": (mean, np.sqrt(1.0 + np.array(shares) @ (means - mean) ** 2))}


def _wide_prior() -> tuple[Callable, Moments]:
    def model() -> None:
        rate = numpyro.sample("rate", dist.Uniform(0.0, 1e6))
        numpyro.factor("seen", -0.5 * ((rate - 5.0) / 0.5) ** 2)

    return model, {"rate": (5.0, 0.5)}


def _student() -> tuple[Callable, Moments]:
    def model() -> None:
        numpyro.sample("x", dist.StudentT(3.0, jnp.zeros(20), 1.0).to_event(1))

    return model, {"x": (np.zeros(20), np.full(20, np.sqrt(3.0)))}


def _hierarchy(groups: int) -> tuple[Callable, Moments]:
    """A centred hierarchy of five values a group, whose sd is hardly told from zero.

    Given the sd all else is Gaussian, so its moments are those of a sum over a grid.
    """
    rng, each = np.random.default_rng(groups), 5
    values = rng.normal(0.3 * rng.standard_normal((groups, 1)), 1.0, (groups, each))

    def model() -> None:
        mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
        sd = numpyro.sample("sd", dist.HalfNormal(1.0))
        with numpyro.plate("groups", groups):
            group = numpyro.sample("group", dist.Normal(mean, sd))
        numpyro.sample("y", dist.Normal(group[:, None], 1.0).to_event(2), obs=values)

    grid = np.linspace(1e-6, 3.0, 30_001)
    averages, variance = values.mean(axis=1), grid**2 + 1.0 / each
    precision = groups / variance + 1.0 / 25.0
    centre = averages.sum() / variance / precision
    log_density = -0.5 * (groups * np.log(variance) + (averages**2).sum() / variance)
    log_density += 0.5 * (precision * centre**2 - np.log(precision) - grid**2)
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    moments = {}
    for name, means, spread in (("sd", grid, 0.0), ("mean", centre, 1.0 / precision)):
        mean = weights @ means
        moments[name] = mean, np.sqrt(weights @ (spread + (means - mean) ** 2))
    return model, moments


def known() -> dict[str, tuple[Callable, Moments]]:
    """Return models without data by name, with exact means and sds of their sites."""
    four = np.random.default_rng(3).normal(0.0, 5.0, (4, 10))
    two = np.array([[-6.0, 0.0], [6.0, 0.0]])
    return {
        "gaussian, 100 dims, condition 1e6": _gaussian(),
        "gamma(0.7)": _independent(lambda: dist.Gamma(0.7, 1.0), 0.7, np.sqrt(0.7)),
        "gamma(4), 30 dims": _independent(
            lambda: dist.Gamma(4.0, 1.0).expand([30]).to_event(1), np.full(30, 4.0), np.full(30, 2)
        ),
        "beta(0.6, 0.9)": _independent(
            lambda: dist.Beta(0.6, 0.9), 0.4, np.sqrt(0.6 * 0.9 / (1.5**2 * 2.5))
        ),
        "student 3, 20 dims": _student(),
        "funnel, 10 dims": _funnel(),
        "banana": _banana(),
        "two modes": _modes(two, [0.5, 0.5]),
        "two modes, 0.02 and 0.98": _modes(two, [0.02, 0.98]),
        "four modes, 10 dims": _modes(four, [0.4, 0.3, 0.2, 0.1]),
        "uniform(0, 1e6) around 5": _wide_prior(),
        "30 groups, centred": _hierarchy(30),
        "60 groups, centred": _hierarchy(60),
        "110 groups, centred": _hierarchy(110),
    }


def _regression(x: Any, y: Any = None) -> None:
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    offset = numpyro.sample("offset", dist.Normal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(slope * x + offset, noise), obs=y)


def _counts(x: Any, y: Any = None) -> None:
    slope = numpyro.sample("slope", dist.Normal(0.0, 0.5))
    offset = numpyro.sample("offset", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Poisson(jnp.exp(slope * x + offset)), obs=y)


def _logistic(x: Any, y: Any = None) -> None:
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
    offset = numpyro.sample("offset", dist.Normal(0.0, 2.0))
    numpyro.sample("y", dist.Bernoulli(logits=slope * x + offset), obs=y)


def _groups(x: Any, y: Any = None) -> None:
    mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0))
    group = numpyro.sample("group", dist.Normal(mean, sd).expand([5]).to_event(1))
    numpyro.sample("y", dist.Normal(group[:, None] + 0.0 * x.reshape(5, -1), 1.0), obs=y)


def _gap(x: Any, y: Any = None) -> None:
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    shape = numpyro.sample("shape", dist.Gamma(3.0, 2.0))
    numpyro.sample("y", dist.Gamma(shape, rate * jnp.ones_like(x)), obs=y)


SIMULATED: dict[str, Callable] = {
    "regression": _regression,
    "poisson regression": _counts,
    "logistic regression": _logistic,
    "five groups, centred": _groups,
    "gamma, both parameters": _gap,
}
COVARIATE = np.linspace(-1.5, 1.5, 20)
