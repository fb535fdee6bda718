"""What the maps of flows promise: Jacobians, inverses, normalised densities, finite far out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax import random

from taut._core.run_once import run_once
from taut.infer.autoguide.block_autoregressive import BlockAutoregressive, BlockNetwork
from taut.infer.autoguide.masked_autoregressive import InverseAutoregressive, MaskedNetwork


def _masked(dim, key):
    network = MaskedNetwork(dim, (4, 5), True, jax.nn.elu)
    return InverseAutoregressive(network, network.start(key))


def _block(dim, key):
    network = BlockNetwork(dim, (3,), gated=False)
    return BlockAutoregressive(network, network.start(key))


def _gated_block(dim, key):
    network = BlockNetwork(dim, (2, 2), gated=True)
    return BlockAutoregressive(network, network.start(key))


MAPS = {"masked": _masked, "block": _block, "gated-block": _gated_block}

pytestmark = pytest.mark.parametrize(
    "name", ["masked", "block", pytest.param("gated-block", marks=pytest.mark.slow)]
)


@functools.cache
def _there_and_back(name):
    """Compile, for any params: the map, its Jacobian, and the inverse of what it gives."""
    first = MAPS[name](3, random.key(0))

    def run(params, x):
        flow = type(first)(first.network, params)
        y = flow(x)
        return y, jax.vmap(jax.jacfwd(flow))(x), flow._inverse(y)

    return run_once(run)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_jacobian_is_triangular_and_the_inverse_right(name, seed, same_to_rounding):
    flow = MAPS[name](3, random.key(seed))
    x = random.normal(random.key(seed + 10), (4, 3)) * 2.0
    y, jacobian, back = _there_and_back(name)(flow.params, x)
    same_to_rounding(np.triu(jacobian, 1), np.zeros((4, 3, 3)))
    determinant = flow.log_abs_det_jacobian(x, y)
    same_to_rounding(determinant, np.linalg.slogdet(jacobian)[1])
    same_to_rounding(
        flow.log_abs_det_jacobian(x, y, flow.call_with_intermediates(x)[1]), determinant
    )
    steepest = np.abs(np.linalg.inv(jacobian)).max()
    same_to_rounding(back, x, condition=max(1.0, steepest))


@pytest.mark.usefixtures("double_precision")
def test_the_inverse_has_the_derivatives_of_an_inverse(name, same_to_rounding):
    flow = MAPS[name](2, random.key(3))
    x = jnp.array([0.4, -0.7])
    slopes = run_once(jax.jacfwd(flow))(x)
    inverse = run_once(jax.jacrev(flow._inverse))(flow(x))
    expected = np.linalg.inv(slopes)
    same_to_rounding(inverse, expected, condition=100.0 * np.abs(expected).max())

    def back(params):
        return type(flow)(flow.network, params)._inverse(flow(x)).sum()

    def there(params):
        return np.linalg.inv(slopes).sum(0) @ type(flow)(flow.network, params)(x)

    # f(x; p) = y fixed: dx/dp is minus the inverse Jacobian times df/dp.
    found, wanted = (run_once(jax.grad(f))(flow.params) for f in (back, there))
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        same_to_rounding(mine, -theirs, condition=1000.0 * np.abs(expected).max())


@pytest.mark.usefixtures("double_precision")
def test_the_density_integrates_to_one(name):
    rough = MAPS[name](2, random.key(4))
    # Weights of a third make a map smooth enough for the grid.
    flow = type(rough)(rough.network, jax.tree.map(lambda v: v / 3.0, rough.params))
    noise = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
    density = dist.TransformedDistribution(noise, flow)
    # An even grid over the box around many draws, widened by half on each side.
    draws = np.asarray(density.sample(random.key(5), (20_000,)))
    low, high = draws.min(0), draws.max(0)
    sides = [
        np.linspace(a - (b - a) / 2, b + (b - a) / 2, 150) for a, b in zip(low, high, strict=True)
    ]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
    cell = np.prod([side[1] - side[0] for side in sides])
    total = float(jnp.sum(jnp.exp(jax.jit(density.log_prob)(grid)))) * cell
    # The rule on an even grid is nearly exact; what remains are tails beyond the box and bends of
    # the map that are narrower than a cell.
    assert abs(total - 1.0) < 5e-3


def test_the_density_is_finite_far_out_in_single_precision(name):
    flow = MAPS[name](2, random.key(6))
    noise = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
    density = dist.TransformedDistribution(noise, flow)
    far = jnp.array([[1e4, 1e4], [-1e4, 1e4], [1e4, -1e4], [0.0, 1e6]], jnp.float32)
    values = jax.jit(density.log_prob)(far)
    assert values.dtype == jnp.float32
    assert np.isfinite(values).all()
