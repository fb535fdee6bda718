"""Arrays that a model reads, and that are refilled in place with other data, are read anew."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro import optim

import taut
from taut.infer import SVI, Predictive, Trace_ELBO, autoguide

# Double precision, which JAX copies; what it copied must not be taken for the array.
DATA = np.ones(3)
SHIFTS = np.zeros(2)


def model():
    m = numpyro.sample("m", dist.Normal(0.0, 10.0))
    numpyro.deterministic("shifted", m + SHIFTS)
    numpyro.sample("y", dist.Normal(m, 1.0).expand([3]).to_event(1), obs=DATA)


def guide():
    numpyro.sample("m", dist.Normal(numpyro.param("m_auto_loc", 0.0), 0.5))


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    DATA[:], SHIFTS[:] = 1.0, 0.0


def _svi(made):
    svi = SVI(model, made, optim.Adam(0.3), Trace_ELBO())
    state = svi.run(random.key(0), 200, progress_bar=False)
    return state.params["m_auto_loc"]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("kind", ["fit", "autoguide", "guide"])
def test_a_fit_sees_what_is_in_an_array_now(kind, kept):
    shared = autoguide.AutoNormal(model)

    def run():
        if kind == "fit":
            return taut.fit(model, progress=False, checks=False)
        return _svi(guide if kind == "guide" else shared if kept else autoguide.AutoNormal(model))

    def centre(made):
        return made.sample()["m"].mean() if kind == "fit" else made

    first = run()
    assert abs(centre(first) - 1.0) < 0.3
    DATA[:] = 7.0
    # `first` is still there, with all that it holds.
    assert abs(centre(run()) - 7.0) < 0.5
    assert abs(centre(first) - 1.0) < 0.3


def test_predictions_see_what_is_in_an_array_now():
    predict = Predictive(model, {"m": np.zeros(5)}, return_sites=["shifted"])
    fitted = autoguide.AutoNormal(model)
    fitted.setup()
    params = {"m_auto_loc": np.float32(0.0), "m_auto_scale": np.float32(1.0)}
    for value in (0.0, 3.0):
        SHIFTS[:] = value
        assert np.all(predict(random.key(0))["shifted"] == value)
        assert np.all(fitted.median(params)["shifted"] == value)
