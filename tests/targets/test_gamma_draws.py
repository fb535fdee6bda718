"""Gamma draws of traced functions are JAX's, and move with their shapes as they should."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.extend.core import jaxpr_as_fun
from scipy import special

from taut._core.gamma_draws import can_draw, gamma, gamma_slope, log_gamma
from taut._core.run_once import run_once
from taut._core.straight import straight

SHAPES = np.array([1e-3, 0.01, 0.1, 0.3, 0.9, 1.0, 1.5, 3.0, 10.0, 30.0, 100.0, 1e3, 1e4])
PROBABILITIES = np.array([1e-6, 1e-3, 0.05, 0.3, 0.5, 0.7, 0.95, 0.999, 1 - 1e-6])

PAIRS = [(jax.random.loggamma, log_gamma), (jax.random.gamma, gamma)]


def _log_quantile(shape, probability):
    draw = special.gammaincinv(shape, probability)
    # Of small draws the distribution function is its first term.
    small = (np.log(probability) + special.gammaln(shape + 1)) / shape
    return np.where(draw < 1e-200, small, np.log(np.maximum(draw, 1e-300)))


def _rate(shape, probability):
    """Differences of fourth order: 3e-3 to the fourth power, and rounding of 1e-14 by 3e-3."""
    step = 3e-3 * shape
    near, far = (
        _log_quantile(shape + k * step, probability) - _log_quantile(shape - k * step, probability)
        for k in (1, 2)
    )
    return (8 * near - far) / (12 * step)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-8)])
def test_the_derivative_is_that_of_the_quantile(dtype, tolerance):
    shapes, probabilities = (m.ravel() for m in np.meshgrid(SHAPES, PROBABILITIES))
    logs, wanted = _log_quantile(shapes, probabilities), _rate(shapes, probabilities)
    with jax.enable_x64(dtype is np.float64):
        # Draws are rounded to their type, as those of a sampler are.
        found = run_once(gamma_slope)(jnp.asarray(shapes, dtype), jnp.asarray(logs, dtype))
    np.testing.assert_allclose(np.asarray(found, np.float64), wanted, rtol=tolerance)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_draws_are_those_of_jax(theirs, ours, x64):
    with jax.enable_x64(x64):
        dtype = jnp.result_type(float)
        for number, shape in enumerate((15.0, 0.2, [15.0, 15.0], np.linspace(0.05, 3.0, 500))):
            key, shape = jax.random.key(number), jnp.asarray(shape, dtype)
            made, wanted = run_once(ours)(key, shape), run_once(theirs)(key, shape)
            assert made.dtype == wanted.dtype
            # Two logarithms are added, each to half a unit; the sum may cancel.
            eps = jnp.finfo(dtype).eps
            np.testing.assert_allclose(made, wanted, rtol=4 * eps, atol=8 * eps)


@pytest.mark.slow
@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_draws_in_batches_are_those_of_jax(theirs, ours):
    keys = jax.random.split(jax.random.key(5), (4, 3))
    shapes = jnp.asarray(np.random.default_rng(0).uniform(0.1, 3.0, (4, 3, 2)), jnp.float32)
    for keyed in (jax.vmap(jax.vmap(ours)), jax.vmap(ours), ours):
        made = run_once(keyed)(keys, shapes)
        wanted = run_once(jax.vmap(jax.vmap(theirs)))(keys, shapes)
        np.testing.assert_allclose(made, wanted, rtol=5e-7, atol=1e-6)
    made, wanted = (run_once(jax.vmap(f, (0, None)))(keys[0], shapes[0, 0]) for f in (ours, theirs))
    np.testing.assert_allclose(made, wanted, rtol=5e-7, atol=1e-6)


def test_derivatives_agree_with_those_of_jax_where_it_has_them():
    shapes = jnp.asarray([0.5, 2.0, 15.0, 60.0])
    for theirs, ours in PAIRS:
        made, wanted = (
            run_once(jax.jacobian(lambda a, f=f: f(jax.random.key(2), a)))(shapes)
            for f in (ours, theirs)
        )
        # JAX sums up to 2,000 terms in single precision: measured errors are up to 5e-6.
        np.testing.assert_allclose(made, wanted, rtol=1e-5)


def test_forward_and_batched_derivatives_agree():
    keys, shapes = jax.random.split(jax.random.key(1), 6), jnp.full((6, 2), 1.3)

    def draw(a):
        return jax.vmap(log_gamma)(keys, a)

    forward = run_once(lambda a: jax.jvp(draw, (a,), (jnp.ones((6, 2)),))[1])(shapes)
    backward = run_once(jax.grad(lambda a: draw(a).sum()))(shapes)
    np.testing.assert_allclose(forward, backward, rtol=1e-6)


def test_a_traced_function_draws_by_it():
    def function(key, shape):
        beta = dist.Beta(shape, 2.0).rsample(key)
        return beta + dist.InverseGamma(shape, 1.0).rsample(key) + dist.StudentT(shape).rsample(key)

    key, shape = jax.random.key(3), jnp.asarray(1.7)
    run = jaxpr_as_fun(made := straight(jax.make_jaxpr(function)(key, shape)))
    assert "random_gamma" not in str(made)
    found = run_once(jax.value_and_grad(lambda s: run(key, s)[0]))(shape)
    wanted = run_once(jax.value_and_grad(lambda s: function(key, s)))(shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_within_a_long_call_too():
    @jax.jit
    def long(key, shape):
        value = jax.random.gamma(key, shape)
        for _ in range(20):
            value = jnp.sin(value) + shape
        return value

    closed = jax.make_jaxpr(lambda k, a: long(k, a))(jax.random.key(0), jnp.asarray(1.0))
    assert "random_gamma" not in str(straight(closed))


@pytest.mark.parametrize(
    ("key", "dtype"),
    [(jax.random.key(0, impl="rbg"), np.float32), (jax.random.key(0), np.dtype("bfloat16"))],
)
def test_what_it_cannot_draw_is_left_to_jax(key, dtype):
    assert not can_draw(key.dtype, dtype)
    draw = functools.partial(jax.random.gamma, dtype=dtype)
    closed = jax.make_jaxpr(draw)(key, jnp.asarray(2.0, dtype))
    assert "random_gamma" in str(straight(closed))


def test_shapes_that_are_not_numbers_end_the_draw():
    assert jnp.isnan(run_once(gamma)(jax.random.key(0), jnp.asarray([jnp.nan, 2.0]))[0])


def test_no_draws():
    assert run_once(log_gamma)(jax.random.key(0), jnp.zeros((0, 2))).shape == (0, 2)


def test_a_second_derivative():
    key, shape = jax.random.key(4), jnp.asarray(1.4)
    found = run_once(jax.jacfwd(jax.grad(lambda a: log_gamma(key, a))))(shape)
    wanted = run_once(jax.jacfwd(jax.jacfwd(lambda a: jax.random.loggamma(key, a))))(shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_batches_under_a_mesh():
    keys, shapes = jax.random.split(jax.random.key(2), 3), jnp.full((3, 2), 0.7)
    draw = run_once(jax.value_and_grad(lambda a: jax.vmap(log_gamma)(keys, a).sum()))
    outside = draw(shapes)
    with jax.set_mesh(jax.make_mesh((1,), ("i",))):
        for made, wanted in zip(draw(shapes), outside, strict=True):
            np.testing.assert_allclose(made, wanted, rtol=1e-6)


@functools.cache
def _compiled_draws(theirs, ours):
    key = jax.random.key(6)
    return (
        run_once(lambda a: theirs(key, a)),
        run_once(jax.value_and_grad(lambda a: ours(key, a))),
    )


@pytest.mark.parametrize("shape", [1e-30, 1e-19, 1e-13, 1e-10, 1e6, 1.5e8, 1e15])
def test_derivatives_of_extreme_shapes_are_their_limits(shape):
    for theirs, ours in PAIRS:
        reference, differentiated = _compiled_draws(theirs, ours)
        draw, slope = differentiated(shape)
        np.testing.assert_allclose(draw, reference(shape), rtol=5e-7)
        if ours is gamma:
            # A draw that is zero stays so; a large one moves as the shape does.
            assert slope == 0.0 if shape < 1 else abs(slope - 1) < 5 / np.sqrt(shape)
        elif shape < 1:
            np.testing.assert_allclose(slope, np.float32(-draw / shape), rtol=1e-5)
        else:
            np.testing.assert_allclose(slope * shape, 1.0, atol=5 / np.sqrt(shape) + 1e-6)


def test_no_rows_of_draws():
    made = jax.vmap(log_gamma)(jax.random.split(jax.random.key(0), 0), jnp.zeros((0, 2)))
    assert made.shape == (0, 2)
