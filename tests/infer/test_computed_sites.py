"""A guide that computes a site of the model from drawn ones: the Jacobian is counted, once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import deterministic, factor, handlers, param, plate, sample
from numpyro.distributions import constraints
from numpyro.infer import Trace_ELBO as NumPyroTraceELBO

import taut
from taut.infer import (
    SVI,
    RenyiELBO,
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    optim,
)

SEEDS = range(11)
AUXILIARY = {"is_auxiliary": True}
OBJECTIVES = [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO, RenyiELBO]
Y = np.random.default_rng(0).normal(size=50).astype(np.float32)


def model():
    sample("x", dist.LogNormal(0.0, 1.0))


def draw_u():
    scale = param("s", 0.3, constraint=constraints.positive)
    return sample("u", dist.Normal(param("m", 0.5), scale))


def by_delta():
    sample("x", dist.Delta(jnp.exp(draw_u())))


def by_deterministic():
    deterministic("x", jnp.exp(draw_u()))


def by_hand():
    u = draw_u()
    sample("x", dist.Delta(jnp.exp(u), log_density=-u))


def by_factor():
    u = draw_u()
    deterministic("x", jnp.exp(u))
    factor("jacobian", -u)


def value_and_gradient(objective, model, guide, *args):
    def loss(params):
        return objective.loss(jax.random.key(3), params, model, guide, *args)

    seeded = handlers.seed(guide, rng_seed=0)
    trace = handlers.trace(seeded).get_trace(*args)
    params = {n: jnp.asarray(s["value"]) for n, s in trace.items() if s["type"] == "param"}
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    return np.array([value, *(np.sum(gradient[name]) for name in sorted(gradient))])


@functools.cache
def stated_by_hand(objective):
    return value_and_gradient(objective(num_particles=3), model, by_hand)


@pytest.fixture
def same(same_to_rounding):
    return lambda found, wanted: same_to_rounding(found, wanted, np.float32)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("guide", [by_delta, by_deterministic, by_factor])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_way_to_write_a_jacobian_has_the_same_loss(guide, objective, same):
    same(value_and_gradient(objective(num_particles=3), model, guide), stated_by_hand(objective))


@pytest.mark.filterwarnings("ignore:Found non-auxiliary")
def test_a_density_that_was_given_is_numpyros(same):
    ours = stated_by_hand(Trace_ELBO)
    theirs = value_and_gradient(NumPyroTraceELBO(num_particles=3), model, by_hand)
    same(ours, theirs)


@pytest.mark.parametrize("seed", SEEDS)
def test_at_the_exact_posterior_the_loss_is_minus_the_log_evidence(seed):
    params = {"m": 0.0, "s": 1.0}
    loss = Trace_ELBO().loss(jax.random.key(seed), params, model, by_delta)
    # log p(x) - log q(x) is 0 for every draw; four roundings of terms of size u^2 / 2.
    assert abs(loss) < 4 * np.finfo(np.float32).eps * 20


def local_model(y):
    sample("mu", dist.Normal(0.0, 1.0))
    with plate("n", 50, subsample_size=10) as rows:
        z = sample("z", dist.LogNormal(0.0, 1.0))
        w = sample("w", dist.Normal(0.0, 1.0))
        sample("y", dist.Normal(z + w, 1.0), obs=jnp.asarray(y)[rows])


def local_guide(state):
    def guide(y):
        v = sample("v", dist.Normal(param("m", 0.1), 0.3), infer={"is_auxiliary": True})
        deterministic("mu", 2.0 * v + 1.0)
        loc = param("loc", jnp.linspace(-1.0, 1.0, 50))
        c, s = jnp.cos(param("angle", 0.3)), jnp.sin(param("angle", 0.3))
        with plate("n", 50, subsample_size=10) as rows:
            a = sample("a", dist.Normal(loc[rows], 0.5), infer={"is_auxiliary": True})
            b = sample("b", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
            p, q = c * a - s * b, s * a + c * b
            state(jnp.exp(p + v), 3.0 * q + p**2, -(p + v) - jnp.log(3.0))

    return guide


def computed(z, w, density):
    deterministic("z", z)
    sample("w", dist.Delta(w))


def stated(z, w, density):
    sample("z", dist.Delta(z, log_density=density))
    sample("w", dist.Delta(w))


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO])
def test_rows_of_a_minibatch_are_scaled_as_their_sources_are(objective, same):
    found = value_and_gradient(objective(), local_model, local_guide(computed), Y)
    same(found, value_and_gradient(objective(), local_model, local_guide(stated), Y))


def enclosed_model(y):
    with plate("n", 50):
        z = sample("z", dist.LogNormal(0.0, 1.0))
        sample("y", dist.Normal(z, 1.0), obs=y)


def enclosed_guide(density):
    def guide(y):
        with plate("n", 50):
            u = sample("u", dist.Normal(param("m", 0.0), 1.0), infer={"is_auxiliary": True})
            sample("z", dist.Delta(jnp.exp(u), log_density=-u if density else 0.0))

    return guide


def test_renyi_bounds_each_row_by_its_own_jacobian(same):
    objective = RenyiELBO(0.5, num_particles=3)
    found = value_and_gradient(objective, enclosed_model, enclosed_guide(False), Y)
    wanted = value_and_gradient(objective, enclosed_model, enclosed_guide(True), Y)
    same(found, wanted)


def test_a_multi_sample_guide_has_a_jacobian_for_each_sample(same):
    def guide(density):
        def program():
            with plate("samples", 4):
                u = sample("u", dist.Normal(param("m", 0.5), 1.0), infer={"is_auxiliary": True})
            sample("x", dist.Delta(jnp.exp(u), log_density=-u if density else 0.0))

        return program

    objective = Trace_ELBO(multi_sample_guide=True)
    found = value_and_gradient(objective, model, guide(False))
    same(found, value_and_gradient(objective, model, guide(True)))


def plane():
    sample("x", dist.Normal(0.0, 1.0))
    sample("y", dist.Normal(0.0, 2.0))


def turned():
    angle = param("angle", 0.3)
    c, s = jnp.cos(angle), jnp.sin(angle)
    u = sample("u", dist.Normal(param("m", jnp.ones(2)), 1.0).to_event(1), infer=AUXILIARY)
    sample("x", dist.Delta(c * u[0] - s * u[1]))
    sample("y", dist.Delta(s * u[0] + c * u[1]))


def test_a_rotation_has_numpyros_loss_and_gradient(same):
    ours = value_and_gradient(Trace_ELBO(num_particles=3), plane, turned)
    same(ours, value_and_gradient(NumPyroTraceELBO(num_particles=3), plane, turned))


def test_a_point_estimate_has_no_jacobian(same):
    def guide():
        deterministic("x", param("x_hat", 2.0))

    loss = Trace_ELBO().loss(jax.random.key(0), {"x_hat": 2.0}, model, guide)
    same(loss, -dist.LogNormal(0.0, 1.0).log_prob(2.0))


def two_of_one():
    u = draw_u()
    sample("x", dist.Delta(u))
    sample("y", dist.Delta(u**2))


def one_of_two():
    deterministic("x", draw_u() + sample("v", dist.Normal(0.0, 1.0)))
    sample("y", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize(
    ("guide", "sentence"),
    [
        (two_of_one, "x, y are 2 numbers made from 1 auxiliary; no density exists"),
        (one_of_two, "x is 1 number made from 2 auxiliaries; their density is an integral"),
    ],
)
def test_what_has_no_density_is_refused_before_the_first_step(guide, sentence):
    svi = SVI(plane, guide, optim.Adam(0.01), Trace_ELBO())
    with pytest.raises(taut.InputError, match=sentence):
        svi.run(jax.random.key(0), 10, progress_bar=False)


@pytest.mark.filterwarnings("ignore:the guide draws sites")
def test_a_leftover_auxiliary_is_told_and_one_used_up_is_not():
    def guide():
        sample("v", dist.Normal(0.0, 1.0))
        by_delta()

    with pytest.warns(UserWarning, match="the model lacks: v. If"):
        Trace_ELBO().loss(jax.random.key(0), {}, model, guide)


def test_a_jacobian_inside_a_compiled_run():
    svi = SVI(model, by_deterministic, optim.Adam(0.03), Trace_ELBO(num_particles=32))
    with numpyro.validation_enabled():
        result = svi.run(jax.random.key(0), 600, progress_bar=False)
    # Without the Jacobian the optimum is m = -1.
    assert abs(result.params["m"]) < 0.1
