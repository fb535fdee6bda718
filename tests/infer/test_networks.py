"""Networks with priors on their weights, as NumPyro's `contrib.module` declares them."""

import copy

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.infer
import pytest
from extras import needs
from networks import LIBRARIES, X, Y, bayesian_network, nnx_network
from numpyro.contrib.module import nnx_module

import taut.infer
from taut.infer import SVI, Predictive, Trace_ELBO, autoguide, optim

# Adam divides gradients by their size, and would make roundings of small ones large.
STEP = optim.SGD(1e-3)

PRIORS = [
    pytest.param("flax", None, marks=pytest.mark.slow),
    ("flax", "layers_0.kernel"),
    pytest.param("nnx", None, marks=pytest.mark.slow),
    ("nnx", "first.kernel"),
    ("eqx", None),
]


def _run(inference, guides, model, **options):
    svi = inference.SVI(model, guides.AutoNormal(model), STEP, inference.Trace_ELBO())
    return svi.run(jax.random.key(0), 8, X, Y, progress_bar=False, **options)


@pytest.mark.parametrize(("kind", "prior"), PRIORS)
def test_a_network_with_priors_is_trained_as_numpyro_trains_it(kind, prior, same_to_rounding):
    needs(LIBRARIES[kind])
    model = bayesian_network(kind, prior)
    expected = _run(numpyro.infer, numpyro.infer.autoguide, model)
    result = _run(taut.infer, autoguide, model)
    same_to_rounding(result.losses, expected.losses, np.float32, condition=10)
    # Marks of weights that are drawn are part of the structure.
    assert jax.tree.structure(result.params) == jax.tree.structure(expected.params)
    for own, other in zip(*map(jax.tree.leaves, (result.params, expected.params)), strict=True):
        same_to_rounding(own, other, np.float32, condition=10)
    again = _run(taut.infer, autoguide, model, init_params=expected.params)
    expected = _run(numpyro.infer, numpyro.infer.autoguide, model, init_params=expected.params)
    same_to_rounding(again.losses, expected.losses, np.float32, condition=10)


@pytest.mark.parametrize("kind", ["flax", "nnx"])
def test_new_data_for_a_network_with_priors_compile_nothing(kind, compilations):
    needs(LIBRARIES[kind])
    model = bayesian_network(kind)
    first = _run(taut.infer, autoguide, model)
    svi = SVI(model, autoguide.AutoNormal(model), STEP, Trace_ELBO())
    with compilations() as compiled:
        second = svi.run(
            jax.random.key(0), 8, X, Y + 1.0, progress_bar=False, init_params=first.params
        )
    assert compiled == [0]
    assert not np.array_equal(first.losses, second.losses)


def _closed_over(network):
    def model(x, y):
        net = nnx_module("net", network)
        numpyro.sample("y", dist.Normal(net(x)[..., 0], 0.3), obs=y)

    return model


def _passed(x, y, network):
    net = nnx_module("net", network)
    numpyro.sample("y", dist.Normal(net(x)[..., 0], 0.3), obs=y)


def _no_latents(*_):
    pass


def _train(inference, model, *args):
    svi = inference.SVI(model, _no_latents, STEP, inference.Trace_ELBO())
    return svi.run(jax.random.key(0), 5, X, Y, *args, progress_bar=False)


def _shift(network):
    network.last.bias[...] = network.last.bias[...] + 1.0


def test_a_network_passed_as_an_argument_is_trained(same_to_rounding, compilations):
    needs("flax")
    network = nnx_network()
    result = _train(taut.infer, _passed, network)
    expected = _train(numpyro.infer, _passed, network)
    same_to_rounding(result.losses, expected.losses, np.float32)
    assert result.losses[-1] < result.losses[0]
    other = copy.deepcopy(network)
    _shift(other)
    with compilations() as compiled:
        shifted = _train(taut.infer, _passed, other)
    assert compiled == [0]
    same_to_rounding(
        shifted.losses, _train(numpyro.infer, _passed, other).losses, np.float32, condition=10
    )


def test_changed_weights_of_a_network_are_noticed_and_others_compile_nothing(
    same_to_rounding, compilations
):
    needs("flax")
    network = copy.deepcopy(nnx_network())
    model = _closed_over(network)
    before = _train(taut.infer, model).losses
    np.asarray(network.last.bias[...])
    with compilations() as compiled:
        again = _train(taut.infer, model).losses
    assert compiled == [0]
    same_to_rounding(again, before)
    _shift(network)
    expected = _train(numpyro.infer, model).losses
    same_to_rounding(_train(taut.infer, model).losses, expected, np.float32, condition=10)
    assert not np.array_equal(before, expected)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_new_params_of_a_network_compile_nothing_for_predictions(kind, compilations):
    needs(LIBRARIES[kind])
    model = bayesian_network(kind)
    guide = autoguide.AutoNormal(model)
    svi = SVI(model, guide, STEP, Trace_ELBO())

    def draw(steps):
        params = svi.run(jax.random.key(0), steps, X, Y, progress_bar=False).params
        return Predictive(model, guide=guide, params=params, num_samples=4)(jax.random.key(1), X)

    drawn = draw(3)["y"]
    with compilations() as compiled:
        other = draw(6)["y"]
    assert compiled == [0]
    assert not np.allclose(drawn, other)
