"""An autoguide answers for the data of its latest fit, whatever it is called with in between."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random

from taut.infer import SVI, Predictive, Trace_ELBO, autoguide, optim

X = np.random.default_rng(0).standard_normal((20, 2))
Y = X @ np.array([1.0, -1.0]) + 0.1 * np.random.default_rng(1).standard_normal(20)
KEY = random.key(0)


def model(x, y=None):
    b = numpyro.sample("b", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with numpyro.plate("rows", len(x)):
        numpyro.sample("y", dist.Normal(x @ b, 0.5), obs=y)


GUIDES = {
    "laplace": autoguide.AutoLaplaceApproximation,
    "dais": lambda model: autoguide.AutoDAIS(model, K=2),
    "normal": autoguide.AutoNormal,
}


@pytest.mark.parametrize("name", GUIDES)
def test_draws_for_other_data_leave_the_fit_as_it_was(name):
    guide = GUIDES[name](model)
    result = SVI(model, guide, optim.Adam(0.05), Trace_ELBO()).run(
        KEY, 50, X, y=Y, progress_bar=False
    )

    def draw(*args, **kwargs):
        return guide.sample_posterior(KEY, result.params, *args, sample_shape=(8,), **kwargs)["b"]

    before, predicted = draw(), Predictive(guide, params=result.params, num_samples=4)(KEY, X)
    assert np.isfinite(before).all()
    draw(9.0 * X, y=-Y)
    guide.median(result.params, 9.0 * X, y=-Y)
    assert jnp.array_equal(draw(), before)
    again = Predictive(guide, params=result.params, num_samples=4)(KEY, X)
    assert jnp.array_equal(again["b"], predicted["b"])


def test_data_may_be_left_out_after_draws_for_all_of_them():
    guide = autoguide.AutoDAIS(model, K=2)
    result = SVI(model, guide, optim.Adam(0.05), Trace_ELBO()).run(
        KEY, 20, X, y=Y, progress_bar=False
    )
    guide.sample_posterior(KEY, result.params, X, y=Y, sample_shape=(2,))
    draws = Predictive(guide, params=result.params, num_samples=3)(KEY, X)
    assert draws["b"].shape == (3, 2)
    assert np.isfinite(draws["b"]).all()
