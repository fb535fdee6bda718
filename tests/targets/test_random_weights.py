"""Models with networks whose weights have priors: `taut.fit` and what comes with it."""

import functools

import numpy as np
import pytest
from extras import needs
from networks import LIBRARIES, UNITS, X, Y, bayesian_network, flax_network
from numpyro.infer.util import log_density

import taut
from taut._core.errors import InputError

KINDS = pytest.mark.parametrize("kind", LIBRARIES)

# The names that NumPyro gives the weights: kernels, or their transposes, and biases, by layer.
WEIGHTS = {
    "flax": ("layers_0.kernel", "layers_0.bias", "layers_2.kernel", "layers_2.bias"),
    "nnx": ("first.kernel", "first.bias", "last.kernel", "last.bias"),
    "eqx": ("layers[0].weight", "layers[0].bias", "layers[1].weight", "layers[1].bias"),
}


def _weights(kind, draws):
    """Return weights by layer, (draws, inputs, outputs) and (draws, outputs)."""
    made = [np.asarray(draws[f"net/{name}"], float) for name in WEIGHTS[kind]]
    if kind == "eqx":
        made[0], made[2] = (np.swapaxes(made[i], 1, 2) for i in (0, 2))
    assert [w.shape[1:] for w in made] == [(1, UNITS), (UNITS,), (UNITS, 1), (1,)]
    return made


def _outputs(kind, draws, x):
    first, first_bias, last, last_bias = _weights(kind, draws)
    hidden = np.tanh(x @ first + first_bias[:, None])
    return (hidden @ last + last_bias[:, None])[..., 0]


@functools.cache
def _fit(kind):
    needs(LIBRARIES[kind])
    return taut.fit(bayesian_network(kind), X, y=Y, progress=False, checks=False)


@KINDS
@pytest.mark.parametrize("seed", range(3))
def test_the_density_is_numpyros(kind, seed, same_to_rounding):
    needs(LIBRARIES[kind])
    model = bayesian_network(kind)
    bound = taut.target(model, X, y=Y)
    values = bound.constrain(np.random.default_rng(seed).normal(size=bound.dim))
    expected, _ = log_density(model, (X,), {"y": Y}, values)
    same_to_rounding(bound.log_joint(values), expected, np.float32)


@KINDS
def test_draws_and_predictions_are_those_of_the_network(kind, within_error):
    fit = _fit(kind)
    new = X[:5] + 0.05
    prior = taut.prior(bayesian_network(kind), new)
    for made, draws in ((fit.predict(new), fit.sample()), (prior, prior)):
        noise = (made["y"] - _outputs(kind, draws, new)) / 0.3
        within_error(np.mean(noise, axis=0), 0.0, 1.0 / np.sqrt(len(noise)))
        within_error(np.var(noise, axis=0), 1.0, np.sqrt(2.0 / len(noise)))


@pytest.mark.parametrize(
    "kind", ["flax", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("nnx", "eqx"))]
)
def test_chains_draw_the_weights(kind):
    needs(LIBRARIES[kind])
    run = taut.nuts(bayesian_network(kind), X, y=Y, warmup=5, draws=5, progress=False)
    assert _outputs(kind, run.sample(), X).shape == (20, len(X))


@pytest.mark.parametrize(
    ("kind", "prior"),
    [("flax", "layers_0.kernel"), ("nnx", "first.kernel"), ("eqx", "layers[0].weight")],
)
@pytest.mark.parametrize("call", [taut.target, taut.prior])
def test_weights_without_a_prior_are_refused(kind, prior, call):
    needs(LIBRARIES[kind])
    with pytest.raises(InputError, match=r"numpyro.param sites: net\$params"):
        call(bayesian_network(kind, prior), X, y=Y)


def test_first_values_of_weights_are_made_once(monkeypatch):
    needs("flax")
    bound = taut.target(bayesian_network("flax"), X, y=Y)

    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(type(flax_network()), "init", fail)
    assert np.isfinite(bound.log_density(np.zeros(bound.dim, np.float32)))
