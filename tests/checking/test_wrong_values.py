"""Guides that compute wrongly: plain numbers, hidden noise, NaN, weights, supports."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from checking.programs import Y, guide_a, guide_sigma, model, positive
from numpyro import deterministic, handlers, param, prng_key, sample
from numpyro.distributions import constraints

import taut
from taut.infer import SVI, Trace_ELBO, optim


def plain_if(y):
    loc = param("loc", 0.0)
    sample("a", dist.Normal(loc, 1.0 if loc > 0 else 2.0))
    guide_sigma()


def numpy_function(y):
    sample("a", dist.Normal(np.exp(param("loc", 0.0)), 1.0))
    guide_sigma()


def plain_float(y):
    sample("a", dist.Normal(float(param("loc", 0.0)), 1.0))
    guide_sigma()


@pytest.mark.parametrize("wrong", [plain_if, numpy_function, plain_float])
def test_a_param_as_a_plain_number_is_named_with_its_line(wrong):
    (error,) = taut.check(model, wrong, Y).errors
    assert f"guide {wrong.__name__!r} uses a param or a drawn value where" in error.found
    assert " at test_wrong_values.py:" in error.found
    assert "Write jnp in place of np, jnp.where in place of if" in error.fix
    for call in (
        lambda: taut.fit(model, Y, guide=wrong, progress=False),
        lambda: SVI(model, wrong, optim.Adam(0.01), Trace_ELBO()).init(jax.random.key(0), Y),
    ):
        with pytest.raises(taut.InputError, match=f"guide '{wrong.__name__}' uses a param"):
            call()


def test_noise_that_is_no_site_is_an_error():
    def noisy(y):
        deterministic("a", param("m", 0.0) + positive("s") * jax.random.normal(prng_key()))
        guide_sigma()

    (error,) = taut.check(model, noisy, Y).errors
    assert "a is computed with random numbers (numpyro.prng_key) that are no site" in error.found


def test_draws_that_are_nan_are_named():
    def from_data(y):
        sample("a", dist.Normal(jnp.log(-jnp.abs(y).mean()) * param("loc", 1.0), 1.0))
        guide_sigma()

    (error,) = taut.check(model, from_data, Y).errors
    assert "the guide draws NaN or infinity for site 'a' at the first values" in error.found
    svi = SVI(model, from_data, optim.Adam(0.01), Trace_ELBO())
    message = svi.run(jax.random.key(0), 5, Y, progress_bar=False).verdict.message
    assert "outside the support" not in message
    assert "Normal with loc nan" in message


def weighted(y):
    with handlers.scale(scale=20.0):
        guide_a()
    guide_sigma()


def masked(y):
    with handlers.mask(mask=False):
        guide_a()
    guide_sigma()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (weighted, "log q counts site 'a' 20 times and the model 1 times"),
        (masked, "a mask leaves log densities of site 'a' out of log q"),
    ],
)
def test_a_weight_of_the_guide_alone_is_a_warning(wrong, sentence):
    warnings = [p for p in taut.check(model, wrong, Y).warnings if p.kind == "weight"]
    assert [sentence in p.found for p in warnings] == [True]


def test_a_computed_correlation_is_told_to_use_the_support():
    def correlated():
        sample("w", dist.LKJCholesky(2))

    def from_reals():
        u = sample("u", dist.Normal(param("m", jnp.zeros(1)), 1.0).to_event(1))
        deterministic("w", dist.biject_to(constraints.corr_cholesky)(u))

    (error,) = taut.check(correlated, from_reals).errors
    assert "On the support corr_cholesky of 'w' fewer numbers are free than it holds" in error.found
    assert "taut.guides.on_support(" in error.fix


def test_a_computed_simplex_is_right():
    def shares():
        sample("w", dist.Dirichlet(jnp.ones(3)))

    def sticks():
        u = sample("u", dist.Normal(param("m", jnp.zeros(2)), 1.0).to_event(1))
        deterministic("w", dist.biject_to(constraints.simplex)(u))

    assert not taut.check(shares, sticks).errors
