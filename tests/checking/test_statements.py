"""Statements that are no statements, noise that is no site, and numbers that serve several."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from checking.programs import Y, guide_a, guide_sigma, local_model, model, plane, positive
from numpyro import deterministic, handlers, param, plate, sample
from numpyro.distributions import constraints

import taut
from taut.infer import SVI, Trace_ELBO, optim


def constraint_without_bounds(y):
    guide_sigma()
    sample("a", dist.Normal(param("loc", 1.0, constraint=constraints.interval), 1.0))


def constraint_as_text(y):
    guide_sigma()
    sample("a", dist.Normal(0.0, param("scale", 1.0, constraint="positive")))


def constraint_as_function(y):
    guide_sigma()
    sample("a", dist.Normal(0.0, param("scale", 1.0, constraint=lambda v: v > 0)))


def list_of_numbers(y):
    guide_sigma()
    sample("a", dist.Normal(param("loc", [0.5]) + 1.0, 1.0))


def no_first_value(y):
    guide_sigma()
    sample("a", dist.Normal(param("loc"), 1.0))


def forgot_to_draw(y):
    guide_sigma()
    deterministic("a", dist.Normal(param("loc", 0.0), 1.0))


def array_for_a_distribution(y):
    guide_sigma()
    sample("a", param("loc", jnp.zeros(())))


def yields(y):
    yield guide_a()
    yield guide_sigma()


def factory(y):
    return guide_a


def numpy_noise(y):
    u = sample("u", dist.Normal(param("m", 0.0), 1.0))
    deterministic("a", u + np.random.default_rng().normal())
    guide_sigma()


def own_key(y):
    noise = jax.random.normal(jax.random.key(0))
    deterministic("a", param("m", 0.0) + positive("s") * noise)
    guide_sigma()


def seeded(y):
    with handlers.seed(rng_seed=0):
        guide_a()
    guide_sigma()


def substituted(y):
    with handlers.substitute(data={"a": jnp.array(0.3)}):
        guide_a()
    guide_sigma()


def keyed(y):
    sample("a", dist.Normal(param("loc", 0.0), 1.0), rng_key=jax.random.key(0))
    guide_sigma()


def idle(y):
    guide_a()
    guide_sigma()
    sample("u", dist.Normal(0.0, 3.0), infer={"is_auxiliary": True})


def clipped(y):
    guide_a()
    deterministic("sigma", jnp.clip(sample("u", dist.Normal(param("m", 1.0), 1.0)), 0.5, 3.0))


def far_from_its_bounds(y):
    guide_sigma()
    sample("a", dist.Normal(param("m", 3.0, constraint=constraints.interval(0.5, 2.0)), 1.0))


CASES = [
    (constraint_without_bounds, "constraint", "is the class of interval constraints, without its"),
    (constraint_without_bounds, "constraint", "constraint=dist.constraints.interval(low, high))"),
    (constraint_as_text, "constraint", "is the text 'positive'"),
    (constraint_as_text, "constraint", "constraint=dist.constraints.positive)"),
    (constraint_as_function, "constraint", "the constraint of parameter 'scale' is a function"),
    (list_of_numbers, "start", "Write numpyro.param('loc', jnp.array([0.5]))"),
    (no_first_value, "start", "parameter 'loc' has no first value"),
    (forgot_to_draw, "raised", "numpyro.deterministic('a', ...) has a distribution (Normal)"),
    (array_for_a_distribution, "raised", "is an array, not a distribution"),
    (yields, "raised", "has yield in it"),
    (factory, "raised", "has no statements and returns a function"),
    (numpy_noise, "noise", "'a' is made with random numbers that are not JAX's"),
    (own_key, "noise", "'a' is made with random numbers from a key that the guide makes itself"),
    (seeded, "noise", "site 'a' has a Normal, but the same value in every draw"),
    (substituted, "noise", "site 'a' has a Normal, but the same value in every draw"),
    (keyed, "noise", "Take handlers.seed, handlers.substitute and rng_key= away from 'a'"),
    (idle, "extra", "the guide draws 'u' and makes nothing from it"),
    (clipped, "density", "by a map that is flat at"),
    (far_from_its_bounds, "start", "Write a first value that is between 0.5 and 2"),
]


@pytest.mark.parametrize(("wrong", "kind", "sentence"), CASES)
def test_a_statement_that_is_none_is_named(wrong, kind, sentence):
    errors = taut.check(model, wrong, Y).errors
    assert {e.kind for e in errors} == {kind}
    assert any(sentence in str(e) for e in errors), errors
    assert not any("Tracer" in str(e) for e in errors)


@pytest.mark.parametrize("wrong", [constraint_without_bounds, constraint_as_text])
def test_a_constraint_that_is_none_is_named_by_svi(wrong):
    svi = SVI(model, wrong, optim.Adam(0.01), Trace_ELBO())
    with pytest.raises(taut.InputError, match=r"Write numpyro\.param\('.*constraint=dist\."):
        svi.init(jax.random.key(0), Y)


def rows_model(y):
    with plate("rows", 3):
        sample("w", dist.Normal(0.0, 1.0))


def test_one_name_in_a_loop_is_noted():
    def loop(y):
        draws = [sample(f"u{i}", dist.Normal(param("m", 0.0), 1.0)) for i in range(3)]
        deterministic("w", jnp.stack(draws))

    (note,) = taut.check(rows_model, loop, Y).problems
    assert (note.severity, note.kind, note.site) == ("note", "shared", "m")
    assert "one line declares parameter 'm' 3 times" in note.found
    assert 'numpyro.param(f"m_{i}", ...)' in note.fix


def test_one_distribution_for_all_rows_is_noted():
    def alike(y):
        with plate("rows", 3):
            sample("w", dist.Normal(param("m", 0.5), positive("s")))

    (note,) = taut.check(rows_model, alike, Y).problems
    assert (note.severity, note.kind) == ("note", "shared")
    assert "all 3 numbers of site 'w' are drawn from one Normal" in note.found
    assert "numpyro.param('m', jnp.full((3,), 0.5))" in note.fix


def test_a_site_that_depends_on_the_minibatch_outside_of_its_plate_is_named():
    def by_rows(y):
        with plate("n", 20, subsample_size=5) as rows:
            seen = jnp.asarray(y)[rows]
            sample("z", dist.Normal(param("k", 0.5) * seen, 1.0))
        sample("mu", dist.Normal(param("c", 0.5) * seen.mean(), 1.0))

    (warning,) = taut.check(local_model, by_rows, Y).warnings
    assert (warning.kind, warning.site) == ("minibatch", "mu")
    assert "depends on which rows the minibatch has" in warning.found


@pytest.mark.parametrize(
    ("extra", "fix"),
    [
        ({"plates": [("rows", 3, -2)]}, "Give the plate 'rows' dim=-1, as in the model"),
        ({"plates": [("rows", 3, -1)], "event": 1}, "Take to_event off"),
        ({"plates": [("rows", 3, -1), ("more", 2, -2)]}, "Take it out of `with numpyro.plate('mo"),
    ],
)
def test_the_line_for_a_wrong_shape_is_about_what_makes_it(extra, fix):
    def guide(y):
        opened = [plate(name, size, dim=dim) for name, size, dim in extra["plates"]]
        law = dist.Normal(param("m", jnp.zeros(3)), 1.0).to_event(extra.get("event", 0))
        for one in opened:
            one.__enter__()
        sample("w", law)
        for one in reversed(opened):
            one.__exit__(None, None, None)

    (error,) = taut.check(rows_model, guide, Y).errors
    assert fix in error.fix


@pytest.mark.parametrize(
    ("prior", "wrong", "right"),
    [
        (
            dist.LKJCholesky(3),
            dist.Normal(jnp.zeros((3, 3)), 1.0).to_event(2),
            "constraints.corr_cholesky)) with loc of shape (3,)",
        ),
        (
            dist.Dirichlet(jnp.ones(3)),
            dist.Beta(jnp.ones(3), 1.0).to_event(1),
            "constraints.simplex)) with loc of shape (2,)",
        ),
        (
            dist.ZeroSumNormal(1.0, (4,)),
            dist.Normal(jnp.zeros(4), 1.0).to_event(1),
            "constraints.zero_sum(1))) with loc of shape (3,)",
        ),
    ],
)
def test_the_line_for_a_support_of_fewer_numbers_works_when_typed(prior, wrong, right):
    def held():
        sample("w", prior)

    def guide():
        sample("w", wrong)

    (error,) = taut.check(held, guide).errors
    assert error.fix.endswith(right)
    line, shape = error.fix.removeprefix("Write ").split(" with loc of shape ")
    loc, scale = jnp.zeros(eval(shape)), 1.0
    names = {"numpyro": numpyro, "taut": taut, "dist": dist, "loc": loc, "scale": scale}
    assert taut.check(held, lambda: eval(line, names)).errors == ()


def test_a_discrete_site_is_told_a_discrete_distribution():
    def held():
        sample("k", dist.Bernoulli(0.3))

    def guide():
        sample("k", dist.Beta(2.0, 2.0))

    (error,) = taut.check(held, guide).errors
    assert error.fix == "Write numpyro.sample('k', dist.Bernoulli(probs))"


def test_a_simplex_of_too_many_numbers_is_told_the_right_count():
    def held():
        sample("w", dist.Dirichlet(jnp.ones(3)))

    def guide():
        u = sample("u", dist.Normal(param("m", jnp.zeros(3)), 1.0).to_event(1))
        deterministic("w", jax.nn.softmax(u))

    (error,) = taut.check(held, guide).errors
    assert "2 numbers (the last of w follows from the others) made from 3" in error.found
    assert "jax.nn.softmax(jnp.append(u, 0.0))" in error.fix


def test_draws_that_overflow_are_no_matter_of_support():
    def guide():
        sample("x", dist.Normal(0.0, jnp.exp(param("log_scale", 100.0))))
        sample("y", dist.Normal(param("loc", 0.0), 1.0))

    (error,) = taut.check(plane, guide).errors
    assert "the guide draws NaN or infinity for site 'x'" in error.found


def test_a_covariance_as_it_should_be_has_no_problem():
    def vector(y):
        sample("w", dist.Normal(0.0, 1.0).expand([3]).to_event(1))

    def guide(y):
        matrix = param("C", 0.1 * jnp.eye(3), constraint=constraints.positive_definite)
        loc = param("m", jnp.zeros(3))
        sample("w", dist.MultivariateNormal(loc, covariance_matrix=matrix))

    assert taut.check(vector, guide, Y).problems == ()


def test_first_values_from_random_numbers_have_no_problem():
    def guide(y):
        sample("a", dist.Normal(param("loc", np.random.normal()), positive("scale")))
        first = jax.random.normal(jax.random.key(0))
        sample("sigma", dist.LogNormal(param("log_loc", first), positive("sd")))

    assert taut.check(model, guide, Y).problems == ()
