"""One run of a model finds its sites and is its density; few values are made with that density."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.extend.core import jaxpr_as_fun
from numpyro import handlers
from numpyro.contrib.control_flow import scan

import taut
from taut.targets.constrainer import Constrainer
from taut.targets.named_values import MOST_NUMBERS
from taut.targets.oracle import Oracle
from taut.targets.program import Program

Y = np.array([0.3, -0.2, 1.1, 0.7], np.float32)
GROUP = np.array([0, 1, 1, 0])


def plain(y):
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    top = numpyro.sample("top", dist.Uniform(0.0, 1.0 + scale))
    level = numpyro.sample("level", dist.Normal(0.0, scale).expand([2]).to_event(1))
    numpyro.deterministic("sum", level.sum() + top)
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Normal(level[GROUP], scale), obs=y)


def shares(y):
    p = numpyro.sample("p", dist.Dirichlet(jnp.ones(3)))
    tree = numpyro.sample("tree", dist.LKJCholesky(3))
    a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.positive, (), ()))
    numpyro.factor("pull", -a * (p**2).sum() + tree.sum())


def masked_and_scaled(y):
    with handlers.scale(scale=2.0), numpyro.plate("rows", 4), handlers.mask(mask=Y > 0.0):
        rate = numpyro.sample("rate", dist.LogNormal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(rate, 1.0), obs=y)


def subsampled(y):
    m = numpyro.sample("m", dist.StudentT(3.0, 0.0, 1.0), sample_shape=(2,))
    with numpyro.plate("rows", 4, subsample_size=2):
        batch = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(m.sum(), 1.0), obs=batch)


def keyed(y):
    noise = jax.random.normal(numpyro.prng_key(), (4,))
    m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(m + noise, 1.0), obs=y)


def walk(y):
    def step(last, value):
        now = numpyro.sample("state", dist.LogNormal(last, 1.0))
        numpyro.sample("y", dist.Normal(now, 1.0), obs=value)
        return now, now

    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    scan(step, scale, y)


ONCE = [plain, shares, masked_and_scaled, subsampled, keyed]


@pytest.mark.parametrize("model", ONCE, ids=lambda model: model.__name__)
def test_the_run_that_finds_the_sites_computes_what_another_would(model, same_to_rounding):
    program = taut.target(model, Y).program
    kept = program.traced((Y,))
    again = Program.traced(program, (Y,))
    assert [a.shape for a in kept.out_avals] == [a.shape for a in again.out_avals]
    for z in np.random.default_rng(0).standard_normal((5, program.dim)).astype(np.float32):
        ours, theirs = (jax.jit(jaxpr_as_fun(traced))(z, Y) for traced in (kept, again))
        for one, other in zip(ours, theirs, strict=True):
            same_to_rounding(one, other, np.float32, condition=10.0)


@pytest.mark.parametrize(("model", "runs"), [(plain, 1), (walk, 2)])
def test_a_model_with_loops_is_run_again(model, runs):
    calls = []

    def counted(y):
        calls.append(1)
        model(y)

    Oracle(taut.target(counted, Y))
    # A loop's body may be traced more than once; the model's function is not.
    assert len(calls) == runs


def test_double_precision_is_a_run_of_its_own():
    bound = taut.target(plain, Y)
    single, double = Oracle(bound, np.dtype(np.float32)), Oracle(bound, np.dtype(np.float64))
    z = np.random.default_rng(1).standard_normal((3, bound.dim))
    np.testing.assert_allclose(single(z)[0], double(z)[0], rtol=1e-5)
    assert np.abs(single(z)[0] - double(z)[0]).max() > 0.0


def test_an_array_refilled_after_a_model_was_bound_is_seen_as_it_is():
    level = np.array([2.0, 3.0], np.float32)

    def model(y):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(m * level.sum() + jnp.sum(level), 1.0), obs=y)

    bound = taut.target(model, 0.5)
    level[:] = 1.0
    value = Oracle(bound)(np.zeros((1, 1)))[0][0]
    expected = dist.Normal(0.0, 1.0).log_prob(0.0) + dist.Normal(2.0, 1.0).log_prob(0.5)
    assert value == pytest.approx(float(expected), rel=1e-6)
    # What it read is held fast from then on.
    level[:] = 0.0
    assert Oracle(bound)(np.zeros((1, 1)))[0][0] == value


NO_ARRAYS = [
    {"a": 1.0},
    {},
    [1.0, 2.0],
    "text",
    jnp.sin,
    dist.Normal(0.0, 1.0),
    jax.random.key(0),
]


@pytest.mark.parametrize("value", NO_ARRAYS, ids=lambda value: type(value).__name__)
def test_a_deterministic_site_that_is_no_array_is_left_out_with_a_note(value):
    def model(y):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        numpyro.deterministic("odd", value)
        numpyro.deterministic("after", m + 1.0)
        numpyro.sample("y", dist.Normal(m, 1.0), obs=y)

    bound = taut.target(model, Y)
    (note,) = bound.program.notes
    assert "'odd' is left out" in note
    Oracle(bound)
    z = np.array([[0.5], [-1.0]])
    values = Constrainer(bound)(z)
    assert list(values) == ["m", "after"]
    np.testing.assert_allclose(values["after"], z[:, 0] + 1.0)


def test_numbers_are_deterministic_values_of_their_type():
    def model(y):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        numpyro.deterministic("whole", 3)
        numpyro.deterministic("flag", m > 0.0)
        numpyro.deterministic("turn", jnp.exp(1j * m))
        numpyro.sample("y", dist.Normal(jnp.abs(jnp.exp(1j * m)) * m, 1.0), obs=y)

    bound = taut.target(model, Y)
    density = Oracle(bound)(np.array([[0.5]]))[0][0]
    expected = dist.Normal(0.0, 1.0).log_prob(0.5) + dist.Normal(0.5, 1.0).log_prob(Y).sum()
    assert density == pytest.approx(float(expected), rel=1e-6)
    values = Constrainer(bound)(np.array([[0.5], [-0.5]]))
    assert values["whole"].tolist() == [3, 3]
    assert values["flag"].tolist() == [True, False]
    np.testing.assert_allclose(values["turn"], np.exp(1j * np.array([0.5, -0.5])), rtol=1e-6)


def test_a_copy_of_a_target_shares_its_program():
    bound = taut.target(plain, Y)
    again = copy.deepcopy(bound)
    assert again.program is bound.program
    z = np.zeros((1, bound.dim))
    np.testing.assert_array_equal(Oracle(again)(z)[0], Oracle(bound)(z)[0])
    assert copy.deepcopy(bound).program is bound.program


def test_what_a_density_picks_by_is_no_index_of_the_model():
    # 7 lies outside the four values of c, which the site's support says in its own words.
    def model(c):
        p = numpyro.sample("p", dist.Dirichlet(jnp.ones(4)))
        numpyro.sample("c", dist.Categorical(p), obs=c)

    assert taut.target(model, np.array([0, 3, 1])).program.indices == ()
    with pytest.raises(taut.InputError, match="support"):
        taut.target(model, np.array([0, 7, 1]))


def _values(size, dear=False):
    def model(y):
        m = numpyro.sample("m", dist.HalfNormal(1.0))
        numpyro.deterministic("many", m * jnp.arange(float(size)))
        if dear:
            grid = jnp.linspace(0.0, 1.0, 50_000)
            numpyro.deterministic("dear", jnp.exp(m * grid).sum())
        numpyro.sample("y", dist.Normal(m, 1.0), obs=y)

    return model


@pytest.mark.parametrize(
    ("size", "dear", "programs"),
    [(3, False, 1), (MOST_NUMBERS - 1, False, 1), (MOST_NUMBERS, False, 2), (3, True, 2)],
)
def test_few_cheap_values_need_no_program_of_their_own(size, dear, programs, compilations):
    bound = taut.target(_values(size, dear), Y)
    with compilations() as compiled:
        oracle, constrainer = Oracle(bound), Constrainer(bound)
        z = np.random.default_rng(2).standard_normal((300, 1))
        densities, values = oracle(z)[0], constrainer(z)
    assert compiled == [programs]
    assert np.isfinite(densities).all()
    assert list(values) == ["m", "many", *(["dear"] if dear else [])]
    np.testing.assert_allclose(values["m"], np.exp(z[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(values["many"], values["m"][:, None] * np.arange(size), rtol=1e-6)


def test_values_that_are_latents_are_taken_from_the_vector():
    def model(y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0).expand([40]).to_event(1))
        b = numpyro.sample("b", dist.Normal(0.0, 1.0), sample_shape=(2, 3))
        numpyro.deterministic("again", b)
        numpyro.deterministic("one", b[1, 2])
        numpyro.sample("y", dist.Normal(a.sum() + b.sum(), 1.0), obs=y)

    bound = taut.target(model, Y)
    assert Oracle(bound).executable.constrains
    z = np.random.default_rng(3).standard_normal((70, bound.dim))
    values = Constrainer(bound)(z)
    single = z.astype(np.float32)
    np.testing.assert_array_equal(values["a"], single[:, :40])
    np.testing.assert_array_equal(values["b"], single[:, 40:].reshape(70, 2, 3))
    np.testing.assert_array_equal(values["again"], values["b"])
    np.testing.assert_array_equal(values["one"], values["b"][:, 1, 2])
    values["a"][:] = 0.0
    np.testing.assert_array_equal(z[:, :40].astype(np.float32), single[:, :40])


def test_a_value_that_no_latent_decides_has_a_row_for_every_draw():
    def model(y):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        numpyro.deterministic("data", jnp.asarray(y) * 2.0)
        numpyro.deterministic("number", 3.0)
        numpyro.sample("y", dist.Normal(m, 1.0), obs=y)

    bound = taut.target(model, Y)
    Oracle(bound)
    values = Constrainer(bound)(np.zeros((5, 1)))
    np.testing.assert_array_equal(values["data"], np.tile(2.0 * Y, (5, 1)))
    np.testing.assert_array_equal(values["number"], np.full(5, 3.0))
