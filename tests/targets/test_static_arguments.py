"""What enters a compiled program as data, what is held static, and what that costs."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import taut
from taut.targets.target import PROGRAMS_KEPT

INDEX = np.array([0, 0, 1, 2, 2, 1])
X = np.linspace(-1.0, 1.0, 6)
Y = np.array([0.1, -0.3, 1.2, 0.8, 0.5, 1.0])


def _note(name):
    return (
        f"argument {name!r} is held static: the model reads its value, so other values of it "
        "compile anew"
    )


def grouped(index, x, y=None):
    count = len(np.unique(index))
    with numpyro.plate("groups", count):
        a = numpyro.sample("a", dist.Normal())
    numpyro.sample("y", dist.Normal(a[index] + 0.0 * x, 0.5), obs=y)


def sized(n, y):
    with numpyro.plate("rows", n):
        a = numpyro.sample("a", dist.Normal())
    numpyro.sample("y", dist.Normal(a.sum(), 1.0), obs=y)


def flagged(y, robust=False):
    a = numpyro.sample("a", dist.Normal())
    noise = dist.StudentT(4.0, a, 1.0) if robust else dist.Normal(a, 1.0)
    numpyro.sample("y", noise, obs=y)


def named(y, link):
    a = numpyro.sample("a", dist.Normal())
    mean = {"identity": a, "exp": jnp.exp(a)}[link]
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def integer_of_an_array(y, order):
    a = numpyro.sample("a", dist.Normal(), sample_shape=(int(order),))
    numpyro.sample("y", dist.Normal(a.sum(), 1.0), obs=y)


def branching(y, level):
    a = numpyro.sample("a", dist.Normal())
    if level > 0:
        a = a + level
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def looping(y, sizes):
    total = 0.0
    for i, size in enumerate(np.asarray(sizes)):
        total = total + numpyro.sample(f"a{i}", dist.Normal(), sample_shape=(int(size),)).sum()
    numpyro.sample("y", dist.Normal(total, 1.0), obs=y)


def inside_containers(data):
    count = int(np.max(data["index"])) + 1
    a = numpyro.sample("a", dist.Normal(), sample_shape=(count,))
    numpyro.sample("y", dist.Normal(a[data["index"]], 1.0), obs=data["y"])


# Model, arguments, the data leaves that stay, and the one argument that must be held.
HELD = {
    "unique": (grouped, (INDEX, X), {"y": Y}, ("x", "y"), "index"),
    "int of an array": (integer_of_an_array, (Y, np.array(2)), {}, ("y",), "order"),
    "a branch": (branching, (Y, 0.5), {}, ("y",), "level"),
    "a loop": (looping, (Y, np.array([1, 2])), {}, ("y",), "sizes"),
    "in a dict": (
        inside_containers,
        ({"index": INDEX, "y": Y},),
        {},
        ("data['y']",),
        "data['index']",
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_exactly_the_argument_that_must_be_concrete_is_held(name):
    model, args, kwargs, leaves, held = HELD[name]
    target = taut.target(model, *args, **kwargs)
    assert target.data_names == leaves
    assert target.program.notes == (_note(held),)


@pytest.mark.parametrize(
    ("model", "args", "kwargs"),
    [(sized, (3, Y), {}), (flagged, (Y,), {"robust": True}), (named, (Y, "exp"), {})],
)
def test_sizes_flags_and_names_are_static_without_a_note(model, args, kwargs):
    target = taut.target(model, *args, **kwargs)
    assert target.data_names == ("y",)
    assert target.program.notes == ()


def test_static_values_decide_what_is_computed():
    z = jnp.array([0.7])
    plain, robust = (taut.target(flagged, Y, robust=r).log_density(z) for r in (False, True))
    assert plain != robust
    assert taut.target(sized, 2, Y).dim == 2
    assert taut.target(sized, 5, Y).dim == 5
    assert taut.target(looping, Y, np.array([3, 2])).dim == 5


def test_a_python_number_is_data():
    def model(y, scale):
        a = numpyro.sample("a", dist.Normal(0.0, scale))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    one, two = taut.target(model, Y, 1.0), taut.target(model, Y, 2.0)
    assert one.program is two.program
    assert one.data_names == ("y", "scale")


@jax.tree_util.register_pytree_node_class
class Weights:
    """What a library of networks may pass: a container for JAX that looks like an array."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.value, dtype)

    def tree_flatten(self):
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def test_a_container_that_looks_like_an_array_stays_a_container():
    def model(y, weights):
        a = numpyro.sample("a", dist.Normal(0.0, weights.value))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    one, two = (taut.target(model, Y, Weights(np.full(1, v))) for v in (1.0, 2.0))
    assert one.program is two.program
    assert one.data_names == ("y", "weights[<flat index 0>]")


def test_an_argument_that_is_left_out_or_none_is_no_data():
    def model(y, weights=None):
        a = numpyro.sample("a", dist.Normal())
        mean = a if weights is None else a * weights
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    assert taut.target(model, Y).data_names == ("y",)
    assert taut.target(model, Y, weights=None).data_names == ("y",)
    assert taut.target(model, Y, weights=X).data_names == ("y", "weights")


def test_an_argument_held_static_compiles_anew_only_for_other_values(compilations):
    with compilations() as first:
        taut.fit(grouped, INDEX, X, y=Y, progress=False, checks=False)
    with compilations() as same_index:
        taut.fit(grouped, INDEX.copy(), X + 1.0, y=Y - 1.0, progress=False, checks=False)
    with compilations() as other_index:
        fit = taut.fit(grouped, INDEX[::-1].copy(), X, y=Y, progress=False, checks=False)
    assert first[0] > 0
    assert same_index == [0]
    assert other_index[0] > 0
    assert fit.notes == (_note("index"),)


def test_the_note_is_said_in_every_fit_once(compilations):
    for shift in (0.0, 1.0):
        fit = taut.fit(grouped, INDEX, X, y=Y + shift, progress=False, checks=False)
        assert fit.notes.count(_note("index")) == 1


def test_the_result_for_other_values_is_not_that_of_the_old_ones(within_error):
    # Six rows in three groups, then in two: the number of groups follows the argument.
    for index in (INDEX, np.array([0, 0, 0, 1, 1, 1])):
        fit = taut.fit(grouped, index, X, y=Y, progress=False)
        design = np.eye(index.max() + 1)[index]
        precision = design.T @ design / 0.25 + np.eye(design.shape[1])
        mean = np.linalg.solve(precision, design.T @ Y / 0.25)
        summary = fit.pool["a"]
        error = summary.std(axis=0, ddof=1) / np.sqrt(len(summary) / 4)
        within_error(fit.mean("a"), mean, error)


def test_the_store_of_programs_is_bounded():
    def make(number):
        def model(y):
            a = numpyro.sample(f"a{number}", dist.Normal())
            numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

        return model

    alive = []
    for number in range(PROGRAMS_KEPT + 8):
        model = make(number)
        taut.target(model, Y)
        alive.append(weakref.ref(model))
        del model
    gc.collect()
    assert sum(reference() is not None for reference in alive) <= PROGRAMS_KEPT
    assert alive[-1]() is not None


def test_a_program_does_not_keep_the_data():
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    y = np.random.default_rng(0).normal(size=5)
    reference = weakref.ref(y)
    fit = taut.fit(model, y, progress=False, checks=False)
    del y, fit
    gc.collect()
    assert reference() is None


def _slope(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(slope * x, 1.0).to_event(1), obs=y)


def test_an_array_with_masked_values_is_an_error_that_says_where():
    with pytest.raises(taut.InputError, match=r"'y' is a masked array, of which 2 .* at \(4,\)"):
        taut.target(_slope, X, y=np.ma.array(Y, mask=np.arange(6) > 3))


def test_an_array_with_nothing_masked_is_its_values():
    plain, masked = taut.target(_slope, X, y=Y), taut.target(_slope, X, y=np.ma.array(Y))
    assert masked.program is plain.program
    np.testing.assert_array_equal(masked.data[1], Y)
