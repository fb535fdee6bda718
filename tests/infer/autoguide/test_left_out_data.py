"""What a guide was fitted to stays: data left out are predicted, held-out data change nothing."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.infer.autoguide
import pytest
from jax import random
from numpyro import handlers, optim

from taut._core.errors import InputError
from taut.infer import SVI, Predictive, Trace_ELBO, autoguide

X = jnp.linspace(0.5, 1.0, 20)
Y = 2.0 * X + 1.0
NEW = jnp.array([1.0, 2.0])
KINDS = [
    "AutoNormal",
    "AutoDelta",
    "AutoDiagonalNormal",
    "AutoMultivariateNormal",
    "AutoLaplaceApproximation",
    "AutoDAIS",
]
MORE_KINDS = ["AutoLowRankMultivariateNormal", "AutoIAFNormal", "AutoBNAFNormal"]


def line(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 5.0))
    offset = numpyro.sample("offset", dist.Normal(0.0, 5.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(slope * x + offset, 0.1), obs=y)


def _fit(guide, steps=30):
    svi = SVI(line, guide, optim.Adam(0.05), Trace_ELBO())
    return svi, svi.run(random.key(0), steps, X, Y, progress_bar=False)


@pytest.mark.parametrize(
    ("kind", "wrapped"),
    [
        *((kind, False) for kind in KINDS),
        *(pytest.param(kind, False, marks=pytest.mark.slow) for kind in MORE_KINDS),
        ("AutoNormal", True),
        pytest.param("AutoDAIS", True, marks=pytest.mark.slow),
    ],
)
def test_what_is_left_out_is_predicted_by_the_model(kind, wrapped):
    inner = getattr(autoguide, kind)(line)
    guide = (lambda x, y=None: inner(x, y)) if wrapped else inner
    _, result = _fit(guide)
    if wrapped and inner.needs_data:
        with pytest.raises(InputError, match="without those of y"):
            handlers.seed(handlers.substitute(guide, result.params), 0)(NEW)
        inner.setup(X, Y)
    drawn = handlers.seed(handlers.substitute(guide, result.params), 0)(NEW)
    assert drawn.keys() == {"slope", "offset"}
    options = {"guide": guide, "params": result.params, "num_samples": 500}
    made = Predictive(line, **options)(random.key(1), NEW)["y"]
    named = Predictive(line, **options, return_sites=["slope", "offset", "y"])
    values = named(random.key(1), NEW)
    np.testing.assert_array_equal(made, values["y"])
    # Errors of 0.1 around the line of the same draw, in a mean of 500.
    errors = made - values["slope"][:, None] * NEW - values["offset"][:, None]
    assert np.abs(errors.mean(axis=0)).max() < 5 * 0.1 / np.sqrt(500)
    assert inner.median(result.params).keys() == {"slope", "offset"}


def test_two_guides_in_one_function_leave_the_data_to_the_model():
    slope = autoguide.AutoNormal(handlers.block(line, hide=["offset"]))
    offset = autoguide.AutoDelta(handlers.block(line, hide=["slope"]))

    def guide(x, y=None):
        slope(x, y)
        offset(x, y)

    _, result = _fit(guide)
    made = Predictive(line, guide=guide, params=result.params, num_samples=3)(random.key(1), NEW)
    assert made["y"].shape == (3, 2)


def test_a_guide_called_without_data_first_draws_them():
    guide = autoguide.AutoNormal(line)
    assert handlers.seed(guide, 0)(X).keys() == {"slope", "offset", "y"}
    _fit(guide)
    assert handlers.seed(guide, 0)(X).keys() == {"slope", "offset"}


@pytest.mark.parametrize("kind", ["AutoLaplaceApproximation", "AutoMultivariateNormal"])
def test_an_evaluation_on_held_out_data_changes_no_posterior(kind):
    guide = getattr(autoguide, kind)(line)
    svi, result = _fit(guide)
    before = guide.get_posterior(result.params).covariance_matrix
    svi.evaluate(result.state, X[:2], Y[:2])
    np.testing.assert_array_equal(guide.get_posterior(result.params).covariance_matrix, before)
    # New data of a fit do.
    svi.run(random.key(0), 2, X[:2], Y[:2], progress_bar=False)
    after = guide.get_posterior(result.params).covariance_matrix
    assert np.array_equal(after, before) == (kind == "AutoMultivariateNormal")


def test_a_call_without_data_keeps_the_curvature_of_the_fit():
    guide = autoguide.AutoLaplaceApproximation(line)
    _, result = _fit(guide)
    before = guide.get_posterior(result.params).covariance_matrix
    np.testing.assert_array_equal(guide.get_posterior(result.params, NEW).covariance_matrix, before)


def _rows(index):
    with handlers.substitute(data={"rows": index}):
        return numpyro.plate("rows", 12, subsample_size=len(index))


def _locals(x, index):
    with _rows(index):
        z = numpyro.sample("z", dist.Normal(0.0, 10.0))
        numpyro.sample("x", dist.Normal(z, 0.1), obs=x)


def test_predictions_are_for_the_rows_asked_for():
    data = jnp.arange(12.0)
    guide = autoguide.AutoNormal(_locals, create_plates=lambda x, index: _rows(index))
    svi = SVI(_locals, guide, optim.Adam(0.1), Trace_ELBO())
    state = svi.init(random.key(0), data[:4], jnp.arange(4))
    params = {**svi.get_params(state), "z_auto_loc": data, "z_auto_scale": jnp.full(12, 1e-3)}
    predict = Predictive(_locals, guide=guide, params=params, num_samples=100)
    for index in (jnp.arange(8, 12), jnp.arange(3), jnp.arange(12)):
        made = predict(random.key(1), None, index)["x"].mean(axis=0)
        assert np.abs(made - data[index]).max() < 5 * 0.1 / np.sqrt(100)


def test_draws_of_a_guide_that_follows_the_data_are_those_of_the_latest_fit():
    guide = autoguide.AutoDAIS(line, K=3)
    svi, result = _fit(guide)
    # Steps of a size that moves the draws.
    params = {**result.params, "auto_eta0": 0.05, "auto_eta_coeff": 0.0}
    predict = Predictive(guide, params=params, num_samples=3)
    before = predict(random.key(1), NEW)["slope"]
    np.testing.assert_array_equal(predict(random.key(1), X, Y)["slope"], before)
    svi.run(random.key(0), 2, X, 5.0 * Y, progress_bar=False)
    assert np.all(predict(random.key(1), NEW)["slope"] != before)


def test_a_numpyro_guide_starts_where_the_key_says():
    starts = []
    for seed in range(3):
        guide = numpyro.infer.autoguide.AutoNormal(line)
        svi = SVI(line, guide, optim.Adam(0.1), Trace_ELBO())
        params = svi.get_params(svi.init(random.key(seed), X, Y))
        starts.append(float(params["slope_auto_loc"]))
        guide = numpyro.infer.autoguide.AutoNormal(line)
        svi = numpyro.infer.SVI(line, guide, optim.Adam(0.1), numpyro.infer.Trace_ELBO())
        params = svi.get_params(svi.init(random.key(seed), X, Y))
        assert float(params["slope_auto_loc"]) == pytest.approx(starts[-1], rel=1e-6)
    assert len(set(starts)) == 3
