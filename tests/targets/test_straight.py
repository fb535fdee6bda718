"""A traced function made straight computes the same, with its gradient and in batches."""

import collections

import jax
import jax.numpy as jnp
import jax.scipy.special
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.extend.core import jaxpr_as_fun

from taut._core.picked import MOST_ROWS
from taut._core.straight import LARGEST_INLINED, straight
from taut.targets.cost import count_operations

TABLE = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(4, 3)
GROUP = np.array([0, 2, 2, -1, 1])


@jax.jit
def _twice(x):
    return jnp.sin(2.0 * x)


@jax.jit
def _long(x):
    for i in range(LARGEST_INLINED + 1):
        x = jnp.sin(x) + i
    return x


@jax.custom_vjp
def _doubled_slope(x):
    return x * x


_doubled_slope.defvjp(lambda x: (x * x, x), lambda x, g: (4.0 * x * g,))


def _scanned(x):
    return jax.lax.scan(lambda s, v: (_twice(s) * v, s), x[0], x)[0]


def _guarded(x):
    return jax.lax.cond(x[0] > 0.0, lambda v: jnp.log(v[0]), lambda v: v[0], x)


def _beyond(x, mode):
    picked = x.at[np.array([0, 7, 2, -9])].get(mode=mode)
    return (jnp.nan_to_num(picked, nan=0.5) ** 2 * jnp.arange(1.0, 5.0)).sum()


def _mixture(x):
    shares = dist.Categorical(probs=jax.nn.softmax(x[:2]))
    parts = [dist.Normal(x[0], 1.0), dist.Normal(0.0, jnp.exp(x[1]))]
    return dist.MixtureGeneral(shares, parts).log_prob(TABLE).sum()


def _log_beta(x):
    a, b = jnp.exp(x[:2]), jnp.exp(x[2])
    log_gamma = jax.scipy.special.gammaln
    return log_gamma(a) + log_gamma(b) - log_gamma(a + b) + jax.scipy.special.digamma(a + 1.0)


def _by_scales(x):
    # By numbers, rows and columns; of exponentials that are taken of other things too.
    scale = 2.0 * jnp.exp(x)
    table = TABLE[:3] / jnp.exp(x) + TABLE[:3] / jnp.exp(x)[:, None] + x[:, None] / scale[0]
    table = table - jnp.log(scale) * jnp.log(3.0 * scale)
    return table.sum() + jnp.log(jnp.exp(x[2]) * 5.0) / jnp.exp(x[0])


def _noisy(x):
    return (x * jax.random.normal(jax.random.key(3), x.shape)).sum()


FUNCTIONS = {
    "a call made twice": lambda x: (_twice(x) * _twice(x + 1.0) + _twice(x)).sum(),
    "a long call": lambda x: _long(x).sum() + _long(2.0 * x).sum(),
    "derivatives of its own": lambda x: (_doubled_slope(x) + jnp.logaddexp(x, 0.0)).sum(),
    "a scan": _scanned,
    "a branch": _guarded,
    "an array it reads": lambda x: (x * TABLE * TABLE[::-1]).sum(),
    "neutral operands": lambda x: ((0.0 + x * 1.0 - 0.0) / 1.0).sum() + jnp.sum(x[:1]),
    "neutral bounds": lambda x: jnp.maximum(-jnp.inf, jnp.minimum(x, jnp.inf)).sum() + x.max(),
    "no neutral bounds": lambda x: jnp.maximum(0.0, x).sum() - (0.0 - x).sum() + (1.0 / x).sum(),
    "neutral where it widens": lambda x: (x[:1] + jnp.zeros(3)).sum() * jnp.ones(()),
    "neutral integers": lambda x: (x * (jnp.arange(3) + 0) * 1).sum(),
    "constants": lambda x: (x / jnp.sqrt(2.0 * jnp.pi) - jnp.log(3.0)).sum(),
    "slices that look alike": lambda x: x[0:1].sum() * 2.0 + x[1:2].sum() * 3.0,
    "numbers that look alike": lambda x: (x**1).sum() + x.astype(int).sum() * 1.0 + (x * True)[0],
    "tests": lambda x: jnp.where(jnp.isfinite(x) & (x == x), x, 0.0).sum(),
    "a mixture": _mixture,
    "random numbers": _noisy,
    "rows picked": lambda x: (x[GROUP] * jnp.arange(5.0)).sum() + (x[None] * TABLE)[GROUP].sum(),
    "rows picked by a table": lambda x: (x[jnp.stack([GROUP, GROUP[::-1]])] ** 2).sum(),
    "rows picked beyond the end": lambda x: _beyond(x, "fill") + _beyond(x, "clip"),
    "one row picked": lambda x: x[GROUP[0]] ** 2,
    "sizes": lambda x: jnp.abs(jnp.sum(jnp.exp(x))) + jnp.abs(jnp.abs(x) * 2.0 - 1.0).sum(),
    "sizes of complex numbers": lambda x: jnp.abs(jnp.sum(jnp.exp(1j * x))) + jnp.abs(1j * x[0]),
    "sizes of integers": lambda x: x[0] * jnp.abs((x * 1e5).astype(int) ** 2).sum(),
    "factors near zero": lambda x: (1e-20 * (1e-20 * (x * 1e35))).sum() + (3.0 * (2.0 * x)).sum(),
    "scales": lambda x: dist.Normal(x[0], jnp.exp(x[1])).log_prob(TABLE).sum() + _by_scales(x),
    "signs": lambda x: (
        (-(x * -(2.0 * x)) + -x / -(x + 1.0) - -(-x - 3.0 * x)).sum() + jnp.negative(-x[0])
    ),
    "constants in sums": lambda x: (3.0 - (1.0 + x) + 2.0 - (x - 0.5 - x * x)).sum() + 1.0 - x[0],
    "repeated numbers": lambda x: (jnp.full(3, 2.0) * (x * jnp.full(3, 0.5)) - jnp.ones(3)).sum(),
    "squares": lambda x: (((x / 3.0) ** 2 * 2.0) + 0.5 * (x / 1e-12) ** 2 * 1e-24).sum(),
    "log gammas": lambda x: _log_beta(x).sum() + jax.scipy.special.gammaln(x**2 + 1.0)[2],
    "log gammas of log gammas": lambda x: _log_beta(_log_beta(x) ** 2 + 0.5).sum(),
    "the argument itself": lambda x: x[0],
    "none of its argument": lambda x: jnp.zeros(()) + 1.5,
}

POINTS = np.array([[0.3, -1.2, 0.8], [-0.4, 0.1, 2.0]], np.float32)


def _straight(function):
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((3,), jnp.float32))
    run = jaxpr_as_fun(straight(closed))
    return lambda x: run(x)[0]


def _counts(function):
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((3,), jnp.float32))
    return collections.Counter(e.primitive.name for e in straight(closed).jaxpr.eqns)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_the_same(name, same_to_rounding):
    function = FUNCTIONS[name]
    made = jax.jit(jax.vmap(jax.value_and_grad(_straight(function))))(POINTS)
    wanted = jax.jit(jax.vmap(jax.value_and_grad(function)))(POINTS)
    for ours, theirs in zip(made, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        same_to_rounding(ours, theirs, np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_straight_stays_so(name):
    closed = jax.make_jaxpr(FUNCTIONS[name])(jax.ShapeDtypeStruct((3,), jnp.float32))
    once = straight(closed)
    assert len(straight(once).jaxpr.eqns) <= len(once.jaxpr.eqns)
    if "log gammas" not in name:  # to make one of several takes operations of its own
        assert len(once.jaxpr.eqns) <= _flat_size(closed.jaxpr)


def _flat_size(jaxpr):
    inner = [e.params["jaxpr"].jaxpr for e in jaxpr.eqns if e.primitive.name in ("jit", "pjit")]
    return len(jaxpr.eqns) + sum(map(_flat_size, inner))


def test_what_only_costs_time_is_gone():
    def function(x):
        jnp.all(x > 0.0)
        constant = jnp.log(jnp.sqrt(2.0 * jnp.pi)) + 0.0
        x = jnp.maximum(-jnp.inf, jnp.minimum(x, jnp.inf))
        return jnp.sum(1.0 * x[0] + 0.0) + constant + jax.nn.sigmoid(x[0]) * jax.nn.sigmoid(x[0])

    counts = _counts(function)
    assert counts["logistic"] == 1
    assert not counts.keys() & {
        "jit",
        "gt",
        "reduce_and",
        "log",
        "sqrt",
        "reduce_sum",
        "max",
        "min",
    }
    assert counts["mul"] == 1


def test_factors_that_are_one_beyond_numbers_stay_apart():
    # What XLA makes of them is its own: later versions join them.
    assert _counts(lambda x: (1e20 * (1e20 * x)).sum())["mul"] == 2


def test_scales_that_are_exponentials_take_no_logarithm_and_no_division():
    def function(x):
        return dist.Normal(x[0], jnp.exp(x[1])).log_prob(TABLE).sum()

    counts = _counts(function)
    assert not counts.keys() & {"log", "div"}
    assert not _counts(jax.grad(_straight(function))).keys() & {"log", "div"}
    by_columns = _counts(lambda x: (TABLE[:3] / jnp.exp(x)[:, None] + x / jnp.exp(x[0])).sum())
    assert "div" not in by_columns


def test_scales_beyond_all_numbers_have_their_logarithms():
    def function(x):
        return jnp.log(2.0 * jnp.exp(x)).sum()

    far = jnp.array([100.0, -200.0, 40.0])
    np.testing.assert_allclose(_straight(function)(far), -60.0 + 3.0 * np.log(2.0), rtol=1e-6)
    assert not np.isfinite(function(far))


def test_what_is_taken_of_a_large_number_loses_no_digits():
    # Julian dates in single precision: to a quarter of a day, but their difference is exact.
    run = jax.jit(_straight(lambda x: ((x[0] - 2450000.0) + x[1] + 0.3) + (x[2] - 2450000.0)))
    found = run(jnp.array([2450000.5, 0.1, 2450000.25], jnp.float32))
    np.testing.assert_allclose(found, 0.5 + 0.1 + 0.3 + 0.25, rtol=1e-6)


def test_what_is_selected_of_constants_is_what_jax_selects():
    which = np.array([0, 2, 1, 5, -3], np.int32)
    cases = [np.arange(5, dtype=np.int32) * times for times in (1, 10, 100)]
    closed = jax.make_jaxpr(lambda x: x * jax.lax.select_n(which, *map(jnp.asarray, cases)))(1)
    assert "select_n" not in {e.primitive.name for e in straight(closed).jaxpr.eqns}
    made = jaxpr_as_fun(straight(closed))(1)[0]
    np.testing.assert_array_equal(made, jax.lax.select_n(which, *map(jnp.asarray, cases)))


def test_an_index_that_is_held_is_made_into_a_matrix_before():
    counts = _counts(jax.grad(lambda x: (x[GROUP] * x[GROUP - 3]).sum()))
    assert not counts.keys() & {"iota", "eq", "select_n", "convert_element_type", "add", "lt"}
    # One that is given is not known.
    given = straight(jax.make_jaxpr(lambda x, index: x[index].sum())(jnp.ones(3), GROUP))
    assert "select_n" in {e.primitive.name for e in given.jaxpr.eqns}


def test_a_long_function_stays_a_call():
    assert _counts(lambda x: _long(x) + _long(x + 1.0))["jit"] == 2


def test_log_gammas_of_few_numbers_are_one():
    counts = _counts(lambda x: _log_beta(x).sum())
    assert counts["lgamma"] == counts["digamma"] == 1
    assert _counts(lambda x: _log_beta(_log_beta(x) ** 2 + 0.5).sum())["lgamma"] == 2
    # Of many numbers each is as it was, and of none.
    none = jnp.zeros(0)
    empty = straight(jax.make_jaxpr(lambda x: (jax.lax.lgamma(x), jax.lax.lgamma(x + 1.0)))(none))
    assert [v.shape for v in jaxpr_as_fun(empty)(none)] == [(0,), (0,)]
    many = jnp.ones(1000)
    counts = _counts(lambda x: jax.lax.lgamma(many * x[0]).sum() + jax.lax.lgamma(x[1]))
    assert counts["lgamma"] == 2


def _graded(function, dim):
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((dim,), jnp.float32))
    run = jaxpr_as_fun(straight(closed))
    return jax.make_jaxpr(jax.grad(lambda x: run(x)[0]))(jnp.ones(dim))


def _slopes(function, dim):
    equations = straight(_graded(function, dim)).jaxpr.eqns
    return collections.Counter(e.primitive.name for e in equations)


def _work(function, dim):
    return count_operations(_graded(function, dim).jaxpr)


def test_rows_picked_from_few_are_differentiated_without_a_loop():
    few = _slopes(lambda x: (x[GROUP] ** 2).sum() + jnp.exp(x[GROUP]).sum(), MOST_ROWS)
    assert (few["scatter-add"], few["dot_general"], few["iota"]) == (0, 1, 0)
    assert _work(lambda x: x[GROUP].sum(), MOST_ROWS) < _work(lambda x: x[GROUP].sum(), 100)
    many = _slopes(lambda x: (x[GROUP] ** 2).sum(), MOST_ROWS + 1)
    assert (many["scatter-add"], many["dot_general"]) == (1, 0)
    # A matrix for each row of a batch would be large.
    moved = _slopes(lambda x: (x[jnp.searchsorted(x, jnp.arange(5.0))] ** 2).sum(), 8)
    assert (moved["scatter-add"], moved["dot_general"]) == (1, 0)
    # Whole numbers have no derivative, and slices are no rows.
    whole = jax.make_jaxpr(lambda x: jnp.arange(3)[x.astype(int)])(jnp.ones(2))
    assert [e.primitive.name for e in straight(whole).jaxpr.eqns][-1] == "gather"
    assert _slopes(lambda x: (x.reshape(3, 4)[:, GROUP] ** 2).sum(), 12)["dot_general"] == 0


def test_rows_picked_have_higher_and_forward_derivatives():
    def function(x):
        return (jnp.sin(x[GROUP]) * jnp.arange(5.0)).sum()

    for derive in (jax.hessian, jax.jacfwd, lambda f: jax.jacrev(jax.jacrev(f))):
        made, wanted = (derive(f)(POINTS[0]) for f in (_straight(function), function))
        np.testing.assert_allclose(made, wanted, rtol=1e-6, atol=1e-6)


def test_what_is_done_for_its_effect_is_done():
    seen = []

    def function(x):
        jax.debug.callback(lambda v: seen.append(float(v)), x[0])
        return x[1]

    assert float(jax.jit(_straight(function))(POINTS[0])) == POINTS[0, 1]
    jax.effects_barrier()
    assert seen == [POINTS[0, 0]]


def test_a_nan_is_not_tested_away():
    function = _straight(lambda x: jnp.where(jnp.isnan(x), 0.0, x).sum())
    assert float(function(np.array([np.nan, 1.0, 2.0], np.float32))) == 3.0
