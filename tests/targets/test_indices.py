"""Indices that lie outside what they index are said, not only read as the nearest."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import taut
from taut.targets.known import walk

Y = np.arange(1.0, 6.0)
FROM_ZERO, FROM_ONE = np.arange(5), np.arange(1, 6)


def _picking(pick, count=5):
    def model(group, y=None):
        a = numpyro.sample("a", dist.Normal().expand([count]))
        numpyro.sample("y", dist.Normal(pick(a, group), 1.0), obs=y)

    return model


def test_groups_that_count_from_one():
    fit = taut.fit(_picking(lambda a, g: a[g]), FROM_ONE, Y, progress=False, checks=False)
    (note,) = fit.notes
    assert "1 of 5 indices" in str(fit)
    before, after = note.split(" at test_indices.py:")
    assert before == (
        "1 of 5 indices made from 'group' lie outside the axis of length 5 that is indexed"
    )
    assert "a[g]" in after
    assert after.endswith(
        ": 5. They run from 0 to 4, and JAX takes the nearest in silence; if they count from 1, "
        "subtract 1; where what is taken there is masked, or meant, "
        'x.at[index].get(mode="clip") says so'
    )


def test_new_data_of_a_known_program_are_checked():
    model = _picking(lambda a, g: a[g])
    known = taut.target(model, FROM_ZERO, Y)
    assert known.remarks() == []
    (remark,) = taut.target(model, FROM_ONE + 1, Y).remarks()
    assert remark.startswith("2 of 5 indices made from 'group'")
    assert ": 5, 6. They run from 0 to 4" in remark
    assert "count from 1" not in remark
    assert taut.target(model, FROM_ZERO[::-1], Y).program is known.program


@pytest.mark.parametrize("bad", [-6, 5])
def test_the_end_that_negative_indices_count_from_is_known(bad):
    model = _picking(lambda a, g: a[g])
    assert taut.target(model, np.array([-5, -1, 0, 4]), Y[:4]).remarks() == []
    (remark,) = taut.target(model, np.array([-1, bad, 0, 4]), Y[:4]).remarks()
    assert f": {bad}. They run" in remark


WRONG = {
    "a constant": (lambda a, g: a[FROM_ONE], "1 of 5 indices lie"),
    "arithmetic": (lambda a, g: a[2 * g - 1], "3 of 5 indices made from 'group' lie"),
    "an index of an index": (
        lambda a, g: a[jnp.array([0, 7, 2, 9, 4])[g - 1]],
        "2 of 5 indices made from 'group' lie",
    ),
    "a cast": (lambda a, g: a[g.astype(np.int8)], "1 of 5 indices made from 'group' lie"),
    "a second axis": (lambda a, g: jnp.ones((2, 5))[1, g] * a, "1 of 5 indices made from 'group'"),
    "a slice": (lambda a, g: jnp.outer(a, a)[g][:, 0], "1 of 5 indices made from 'group' lie"),
    "a function": (lambda a, g: jax.jit(lambda i: a[i])(g), "1 of 5 indices made from 'group' lie"),
    "an argument that is read": (
        lambda a, g: a[g] * len(np.unique(g)),
        "1 of 5 indices lie",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wherever_the_index_comes_from(name):
    pick, what = WRONG[name]
    (remark,) = taut.target(_picking(pick), FROM_ONE, Y).remarks()
    assert remark.startswith(what)


RIGHT = {
    "subtracted": lambda a, g: a[g - 1],
    "clipped": lambda a, g: a[jnp.clip(g, 0, 4)],
    "said to clip": lambda a, g: a.at[g].get(mode="clip"),
    "said to fill": lambda a, g: a.at[g].get(mode="fill", fill_value=0.0),
    "jnp.take": lambda a, g: jnp.take(a, g, mode="clip"),
    "one that a latent decides": lambda a, g: a[jnp.searchsorted(jnp.sort(a), a) + 5],
    "a piece that is moved inside": lambda a, g: jax.lax.dynamic_slice(a, (g[4],), (5,)),
    "a piece of one": lambda a, g: jax.lax.dynamic_index_in_dim(a, g[4]),
    # XLA and NumPy make integers of NaN and of large floats in other ways.
    "made of floats": lambda a, g: a[jnp.where(g == 5, jnp.nan, g - 1.0).astype(int)],
    "too many cases": lambda a, g: a[jax.lax.select_n(g, *(g for _ in range(70)))],
    "a sum by group": lambda a, g: jax.ops.segment_sum(a, g, num_segments=5),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_inside_or_means_to_go_outside_is_left_alone(name):
    assert taut.target(_picking(RIGHT[name]), FROM_ONE, Y).remarks() == []


MASKED = {
    "padding": lambda a, g: jnp.where(g < 5, a[g], 0.0),
    "the next one": lambda a, g: jnp.where(g < 5, a[g] - a[g - 1], 0.0),
    "neighbours": lambda a, g: (a[jnp.stack([g, g - 1])] * jnp.stack([g < 5, g > 0])).sum(0),
}


@pytest.mark.parametrize("name", MASKED)
def test_what_is_masked_is_fitted(name):
    fit = taut.fit(_picking(MASKED[name]), FROM_ONE, Y, progress=False)
    assert fit.trust == "trusted"
    assert ["indices made from 'group'" in note for note in fit.notes] == [True]


def test_predictions_for_groups_that_are_not_there():
    model = _picking(lambda a, g: a[g])
    fit = taut.fit(model, FROM_ZERO, Y, progress=False, checks=False)
    assert fit.predict(FROM_ZERO, draws=2)["y"].shape == (2, 5)
    for group in (FROM_ONE, FROM_ONE[:3] + 2):
        with pytest.warns(UserWarning, match=f"^1 of {len(group)} indices made from 'group' lie"):
            fit.predict(group, draws=2)


def _shapes(i, j):
    return jnp.concatenate([i[:, None] * j[None, :], i[:, None] + j[None, :]], axis=1).T.reshape(-1)


ARITHMETIC = {
    "sums": lambda i, j: (i + 3) * j - (-i),
    "comparisons": lambda i, j: jnp.where((i < j) | (i >= 2) & (j != 1), i, j + (i <= j)),
    "more comparisons": lambda i, j: jnp.where(~((i > j) ^ (i == j)), i, jnp.maximum(i, j)),
    "bounds": lambda i, j: jnp.clip(jnp.minimum(i, 2), j, j + 1),
    "shapes": _shapes,
    "types": lambda i, j: (i.astype(jnp.int16) + 0 * j).astype(jnp.int8),
    "cases": lambda i, j: jax.lax.select_n(jnp.clip(i, 0, 2), i, j, i + j),
    "slices": lambda i, j: i[::2][1] + j[1:],
    "picked": lambda i, j: jnp.array([5, 6, 7, 8])[i - 2] + j,
    "constants": lambda i, j: i + jnp.asarray(np.array([4, 5, 6])) + j,
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_what_is_known_is_what_jax_computes(name):
    function = ARITHMETIC[name]
    leaves = (np.array([0, 1, 3]), np.array([2, 1, 0]))
    last = []

    def index(leaves):
        return jnp.zeros(100)[function(*leaves)]

    def visit(operation, given):
        if operation.primitive.name == "gather":
            last[:] = given[1:]

    walk(jax.make_jaxpr(index)(leaves), visit)
    expected = np.asarray(function(*leaves))
    np.testing.assert_array_equal(last[0].value(leaves)[..., 0], expected % 100)
