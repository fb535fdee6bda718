"""Steps made in blocks are the steps made one at a time, bit by bit, whatever fails among them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from taut._core.ahead import Ahead
from taut._core.xla_options import OFTEN, cpu_options
from taut.infer import SVI, Trace_ELBO, autoguide, optim
from taut.infer.svi_program import LARGE_STEP, loop_options

CALLS = {"model": 0}


def outside(data):
    numpyro.sample("s", dist.HalfNormal(2.0))
    numpyro.factor("data", data)


def outside_guide(data):
    # About one draw in twenty is negative, outside the support.
    numpyro.sample("s", dist.Normal(numpyro.param("loc", 1.65), 1.0))


def drifting(data):
    numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("push", data * numpyro.param("w", 1.0))


def scale_guide(data):
    # Only the push moves w, and the scale is negative once it is below a half.
    scale = jax.lax.stop_gradient(numpyro.param("w", 1.0)) - 0.5
    numpyro.sample("x", dist.Normal(0.0, scale))


def gradient_guide(data):
    # Below a half the root has the value 0 and a gradient that is not a number.
    w = numpyro.param("w", 1.0)
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    root = jnp.sqrt(jnp.maximum(w - 0.5, 0.0))
    numpyro.factor("root", 0.0 * x + jnp.where(w > 0.5, w, root))


PROGRAMS = {
    "outside": (outside, outside_guide, optim.Adam(1e-3), 0.0),
    "loss": (drifting, scale_guide, optim.SGD(0.004), -1.0),
    "gradient": (drifting, gradient_guide, optim.SGD(0.004), -1.0),
}


def made(name, cuts, steps=230):
    """Make steps in calls of `cuts` steps; return what came of them."""
    model, guide, optimiser, data = PROGRAMS[name]
    svi = SVI(model, guide, optimiser, Trace_ELBO())
    program, leaves = svi._prepare((data,), {})
    state, outside, losses, kept, going = svi.init(jax.random.key(3), data), 0, [], [], True
    while going and len(losses) < steps:
        count = min(cuts, steps - len(losses))
        done = program.steps(leaves, state, len(losses), count, outside, False, False, False)
        state, outside, going = done.state, done.outside, done.going
        losses.extend(done.losses)
        kept.extend(done.kept)
    return state, np.array(losses), np.array(kept), going, outside


@pytest.mark.filterwarnings("ignore:The guide's factor")
@pytest.mark.parametrize("name", PROGRAMS)
def test_blocks_make_the_steps_of_a_loop_that_looks_at_each(name):
    state, losses, kept, going, outside = made(name, 1)
    assert going == (name == "outside")
    # What fails is neither at the beginning nor at an end of a block.
    if name == "outside":
        assert 5 < np.isposinf(losses).sum() < 25
        assert np.isposinf(losses[:-1]).any()
    else:
        assert 60 < len(losses) < 200
        assert len(losses) % 50 > 2
        assert np.isfinite(losses[:-1]).all()
        assert np.isfinite(losses[-1]) == (name == "gradient")
    assert np.isfinite(program_params(state)).all()
    for cuts in (7, 230):
        other, *rest = made(name, cuts)
        assert jax.tree.all(jax.tree.map(same, other, state))
        for found, expected in zip(rest, (losses, kept, going, outside), strict=True):
            assert np.array_equal(found, expected, equal_nan=True)


def program_params(state):
    return np.array(jax.tree.leaves(state.optim_state[1]), float)


def same(one, other):
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = jax.random.key_data(one), jax.random.key_data(other)
    return np.array_equal(one, other)


def test_steps_that_fail_trace_and_compile_nothing(compilations):
    def counted(data):
        CALLS["model"] += 1
        outside(data)

    def run(loc):
        svi = SVI(counted, outside_guide, optim.SGD(0.0), Trace_ELBO())
        return svi.run(
            jax.random.key(0), 120, 0.0, progress_bar=False, init_params={"loc": loc}
        ).losses

    assert np.isfinite(run(20.0)).all()
    # Read for its params and beside its guide, traced for the start and for the steps.
    assert CALLS["model"] == 4
    with compilations() as compiled:
        losses = run(1.65)
    assert np.isposinf(losses).any()
    assert compiled == [0]
    assert CALLS["model"] == 4


def test_a_full_rank_guide_compiles_a_program_for_start_steps_and_params(compilations):
    def model(data):
        with numpyro.plate("rows", 23):  # a size no other test has compiled anything for
            numpyro.sample("x", dist.Normal(data, 1.0))

    key = jax.random.key(0)
    svi = SVI(model, autoguide.AutoMultivariateNormal(model), optim.Adam(0.01), Trace_ELBO())
    with compilations() as compiled:
        svi.run(key, 5, 0.0, progress_bar=False)
    assert compiled == [3]


def test_only_large_steps_are_compiled_for_large_arrays():
    def blocks(size):
        def block(x):
            return jax.lax.while_loop(lambda x: x[0] < 9, lambda x: x + jnp.ones(size), x)

        return jax.make_jaxpr(lambda x: jax.lax.while_loop(lambda x: x[0] < 9, block, x))(
            np.zeros(size, np.float32)
        ).jaxpr

    assert loop_options(blocks(10)) == cpu_options(OFTEN)
    assert loop_options(blocks(LARGE_STEP)) == cpu_options({})


def test_what_is_prepared_from_shapes_is_not_compiled_in_the_call(compilations):
    traced = []

    def double(x):
        traced.append(1)
        return 2.0 * x

    ahead = Ahead(double, lambda _: None)
    shape = ahead.prepare(jax.ShapeDtypeStruct((3,), np.float32))
    assert shape.shape == (3,)
    ahead(np.ones(3, np.float32))
    with compilations() as compiled:
        found = ahead(np.full(3, 2.0, np.float32))
    assert compiled == [0]
    assert traced == [1]
    assert np.array_equal(found, np.full(3, 4.0))
    # Another form is another program, and an array tied to a device goes its own way.
    assert ahead(np.float32(1.0)) == 2.0
    assert ahead(jax.device_put(np.ones(3, np.float32), jax.devices()[0])).committed
