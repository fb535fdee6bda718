"""Keys split in one loop and bits drawn in one hash are those that JAX makes one by one."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun

from taut._core.joined import _LARGEST_DRAWN
from taut._core.key_chains import SHORTEST
from taut._core.straight import straight

KEY = jax.random.key(11)


def _chain(count, which=lambda turn: 0):
    """Draw as NumPyro's programs do, going on with one of the two keys of each split."""

    def draw(key):
        drawn = []
        for turn in range(count):
            pair = jax.random.split(key)
            key, own = pair[which(turn)], pair[1 - which(turn)]
            drawn.append(jax.random.normal(own, (1 + turn % 4,) if turn else ()))
        return drawn

    return draw


def _tree(key):
    left, right = jax.random.split(key)
    drawn = []
    for side, turns in ((left, 4), (right, 5)):
        key = side
        for _ in range(turns):
            key, own = jax.random.split(key)
            drawn += [jax.random.uniform(own, (2, 2)), jax.random.bernoulli(own, 0.3, (3,))]
    return [*drawn, jax.random.exponential(key)]


def _other_splits(key):
    first, second, third = jax.random.split(key, 3)
    pairs = jax.random.split(second, (2, 2))
    for _ in range(SHORTEST):
        third = jax.random.split(third)[1]
    return [jax.random.normal(k) for k in (first, pairs[0, 1], pairs[1, 1], third)]


def _wide_bits(key):
    drawn = []
    for bits in (np.uint8, np.uint16, np.uint32):
        key, own = jax.random.split(key)
        drawn += [jax.random.bits(own, (3,), bits), jax.random.bits(key, (2,), bits)]
    return drawn


def _folded(key):
    for _ in range(4):
        key = jax.random.split(jax.random.fold_in(key, 3))[0]
    return [jax.random.normal(key, (0,)), jax.random.permutation(key, 5), jax.random.normal(key)]


DRAWS = {
    "a chain": _chain(6),
    "a chain by either key": _chain(9, lambda turn: int(turn % 3 == 1)),
    "a long chain": _chain(40, lambda turn: (turn // 7) % 2),
    "a short chain": _chain(SHORTEST - 1),
    "a tree": _tree,
    "splits of other shapes": _other_splits,
    "bits of other widths": _wide_bits,
    "folded in": _folded,
}


def _straight(function, *arguments):
    closed = straight(jax.make_jaxpr(function)(*arguments))
    counts = collections.Counter(e.primitive.name for e in closed.jaxpr.eqns)
    return jaxpr_as_fun(closed), counts


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_the_same(name):
    function = DRAWS[name]
    run, _ = _straight(function, KEY)
    # Operation by operation: to compile a long chain of JAX's own takes a minute.
    for ours, theirs in zip(run(KEY), function(KEY), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    keys = jax.random.split(KEY, 3)
    for ours, theirs in zip(jax.vmap(run)(keys), jax.vmap(function)(keys), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_paths_are_loops_and_bits_one_hash():
    _, chain = _straight(_chain(6), KEY)
    assert (chain["random_split"], chain["scan"]) == (0, 1)
    assert (chain["random_bits"], chain["threefry2x32"], chain["erf_inv"]) == (0, 1, 1)
    # The root lies on the longer path.
    _, tree = _straight(_tree, KEY)
    assert (tree["random_split"], tree["scan"]) == (0, 2)
    _, short = _straight(_chain(SHORTEST - 1), KEY)
    assert (short["random_split"], short["scan"]) == (SHORTEST - 1, 0)


def test_keys_that_are_numbers_are_split_in_one_loop_too():
    raw = jax.random.PRNGKey(7)
    for function, loops in ((_chain(6), 1), (_tree, 2)):
        run, counts = _straight(function, raw)
        assert (counts["random_split"], counts["scan"], counts["threefry2x32"]) == (0, loops, 1)
        for ours, theirs in zip(run(raw), function(raw), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_numbers_of_two_keys_are_no_key_of_theirs():
    def draw(key):
        drawn = []
        for _ in range(4):
            key = jax.random.split(key)[:, 0]
            drawn.append(jax.random.normal(key))
        return drawn

    raw = jax.random.PRNGKey(7)
    run, counts = _straight(draw, raw)
    assert (counts["random_split"], counts["scan"]) == (4, 0)
    for ours, theirs in zip(run(raw), draw(raw), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_many_bits_are_drawn_apart():
    def draw(key):
        one, other = jax.random.split(key)
        sizes = _LARGEST_DRAWN, _LARGEST_DRAWN + 1
        return [jax.random.bits(k, (size,)) for k, size in zip((one, other), sizes, strict=True)]

    run, counts = _straight(draw, KEY)
    assert (counts["random_bits"], counts["threefry2x32"]) == (2, 0)
    for ours, theirs in zip(run(KEY), draw(KEY), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_keys_of_other_generators_are_left_alone():
    key = jax.random.key(3, impl="rbg")
    run, counts = _straight(_chain(4), key)
    assert (counts["random_split"], counts["scan"]) == (4, 0)
    for ours, theirs in zip(run(key), _chain(4)(key), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_hashes_of_the_other_kind_are_left_alone():
    before = jax.config.jax_threefry_partitionable
    jax.config.update("jax_threefry_partitionable", False)
    try:
        run, counts = _straight(_chain(4), KEY)
        assert (counts["random_split"], counts["scan"]) == (4, 0)
        for ours, theirs in zip(run(KEY), _chain(4)(KEY), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    finally:
        jax.config.update("jax_threefry_partitionable", before)


def test_raw_keys_and_gradients_pass_through():
    def draw(x):
        key = jax.random.wrap_key_data(jnp.array([0, 5], jnp.uint32))
        return (jnp.stack(_chain(1)(key) * 3) * x).sum() + sum(
            (v * x[0]).sum() for v in _chain(5)(key)
        )

    point = jnp.arange(3.0)
    run, counts = _straight(draw, point)
    assert counts["scan"] == 1
    ours = jax.value_and_grad(lambda x: run(x)[0])(point)
    for one, other in zip(ours, jax.value_and_grad(draw)(point), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
