"""Gradients by transposed directional derivatives are those of `jax.value_and_grad`."""

import jax
import jax.numpy as jnp
import jax.scipy.special
import numpy as np
import pytest

from taut._core.gradients import value_and_grad

POINT = {"a": np.array([0.3, -1.2, 0.8], np.float32), "b": (np.float32(0.5),)}


@jax.custom_vjp
def _doubled_slope(x):
    return x * x


_doubled_slope.defvjp(lambda x: (x * x, x), lambda x, g: (4.0 * x * g,))


@jax.custom_jvp
def _tripled_slope(x):
    return jnp.sin(x)


_tripled_slope.defjvp(lambda x, t: (jnp.sin(x[0]), 3.0 * jnp.cos(x[0]) * t[0]))


def _cholesky(p):
    matrix = jnp.eye(3) * 2.0 + jnp.outer(p["a"], p["a"])
    return jnp.linalg.slogdet(matrix)[1] + jnp.linalg.cholesky(matrix)[2, 0]


def _loop(p):
    return jax.lax.fori_loop(0, 4, lambda i, x: jnp.sin(x) * p["b"][0] + i, p["a"]).sum()


def _scan(p):
    return jax.lax.scan(lambda s, x: (jnp.cos(s) * x, s), p["b"][0], p["a"])[0]


def _unused_loop(p):
    count = jax.lax.while_loop(lambda n: n < 5, lambda n: n + 1, 0)
    return p["a"].sum() * count


FUNCTIONS = {
    "plain": lambda p: (jnp.exp(p["a"]) * p["b"][0] ** 3).sum(),
    "of one part": lambda p: jnp.tanh(p["a"][1]),
    "of nothing": lambda p: jnp.ones(()) * 2.5,
    "picked": lambda p: p["a"][np.array([0, 2, 2])].prod() + jnp.sort(p["a"])[0],
    "branch": lambda p: jax.lax.cond(p["b"][0] > 0.0, jnp.sum, jnp.prod, p["a"]),
    "where": lambda p: jnp.where(p["a"] > 0.0, jnp.log(jnp.abs(p["a"])), p["a"]).sum(),
    "scan": _scan,
    "loop": _loop,
    "loop it does not depend on": _unused_loop,
    "rule for products": lambda p: _doubled_slope(p["a"]).sum(),
    "rule for directions": lambda p: _tripled_slope(p["a"]).sum() * p["b"][0],
    "made again": lambda p: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))(p["a"]).sum(),
    "jitted": lambda p: jax.jit(lambda x: jax.nn.softmax(x)[0] * x[1])(p["a"]),
    "batched": lambda p: jax.vmap(lambda x: jnp.logaddexp(x, p["b"][0]))(p["a"]).sum(),
    "matrices": _cholesky,
    "gammas": lambda p: jax.scipy.special.gammaln(jnp.exp(p["a"])).sum(),
    "random numbers": lambda p: jax.random.gamma(jax.random.key(1), jnp.exp(p["a"])).sum(),
    "gradients": lambda p: jax.grad(lambda x: (x**3).sum())(p["a"]).sum() * p["b"][0],
}


def _same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_and_gradient_are_those_of_jax(name):
    function = FUNCTIONS[name]
    for compiled in (lambda f: f, jax.jit):
        ours = compiled(lambda p: value_and_grad(function, p))(POINT)
        _same(ours, compiled(jax.value_and_grad(function))(POINT))


def test_what_is_returned_besides_comes_along():
    def function(p):
        return p["a"].sum() ** 2, {"steps": jnp.arange(3), "twice": 2.0 * p["b"][0], "label": "x"}

    (value, aux), gradient = value_and_grad(function, POINT, has_aux=True)
    (expected, other), theirs = jax.value_and_grad(function, has_aux=True)(POINT)
    assert aux.pop("label") == other.pop("label") == "x"
    _same((value, aux, gradient), (expected, other, theirs))


@pytest.mark.parametrize("point", [{}, {"a": np.float32(2.0) + 1j}])
def test_points_without_numbers_or_with_complex_ones_are_left_to_jax(point):
    def function(p):
        return sum(jnp.abs(v) ** 2 for v in p.values()) + jnp.ones(())

    _same(value_and_grad(function, point), jax.value_and_grad(function)(point))


def test_integers_and_vectors_are_refused_as_jax_does():
    with pytest.raises(TypeError, match="real- or complex-valued inputs"):
        value_and_grad(lambda p: p * 1.0, np.int32(3))
    with pytest.raises(TypeError, match="scalar-output"):
        value_and_grad(lambda p: p["a"], POINT)


def test_a_loop_of_unknown_length_is_refused_as_jax_does():
    def function(p):
        return jax.lax.while_loop(lambda x: x < 5.0, lambda x: 2.0 * x, p["b"][0])

    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jax.jit(lambda p: value_and_grad(function, p))(POINT)


def test_batches_and_second_derivatives_pass_through():
    def function(x):
        return jnp.exp(x).sum() * x[0]

    points = np.arange(6.0, dtype=np.float32).reshape(2, 3) / 3.0
    ours = jax.vmap(lambda x: value_and_grad(function, x))(points)
    _same(ours, jax.vmap(jax.value_and_grad(function))(points))
    second = jax.jacrev(lambda x: value_and_grad(function, x)[1])(points[0])
    _same(second, jax.hessian(function)(points[0]))


def test_the_operations_are_those_that_jax_makes():
    def operations(differentiate):
        traced = jax.make_jaxpr(differentiate)(POINT)
        return [equation.primitive.name for equation in traced.jaxpr.eqns]

    function = FUNCTIONS["plain"]
    ours = operations(lambda p: value_and_grad(function, p))
    assert ours == operations(jax.value_and_grad(function))
