"""New data of the same shapes trace and compile nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import taut
from taut._core.errors import InputError
from taut.infer import SVI, Predictive, Trace_ELBO, autoguide, optim
from taut.infer.structure_key import structure_key

CALLS = {"model": 0, "guide": 0}
DATA = np.linspace(-1.0, 2.0, 7, dtype=np.float32)


def counted_model(y):
    CALLS["model"] += 1
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    with numpyro.plate("rows", 7):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def counted_guide(y):
    CALLS["guide"] += 1
    numpyro.sample("mu", dist.Normal(numpyro.param("loc", 0.0), numpyro.param("scale", 0.4)))


def _fit(y, steps):
    # Everything is made anew, as in a notebook cell that is run again.
    svi = SVI(counted_model, counted_guide, optim.Adam(0.02), Trace_ELBO(num_particles=2))
    return svi.run(jax.random.key(0), steps, y, progress_bar=False)


def test_a_second_run_on_new_data_traces_and_compiles_nothing(compilations):
    first = _fit(DATA, steps=10)  # one chunk; a run of several must not compile more
    calls = dict(CALLS)
    with compilations() as compiled:
        second = _fit(DATA + 1.0, steps=1234)
    assert compiled == [0]
    assert calls == CALLS
    assert len(second.losses) == 1234
    assert second.params["loc"] != first.params["loc"]


def _fit_auto(y, steps, **options):
    guide = autoguide.AutoMultivariateNormal(counted_model, **options)
    svi = SVI(counted_model, guide, optim.Adam(0.02), Trace_ELBO())
    result = svi.run(jax.random.key(0), steps, y, progress_bar=False)
    return result, guide.median(result.params)


def test_an_autoguide_made_anew_compiles_nothing_for_its_run(compilations):
    first, near = _fit_auto(DATA, 500)
    with compilations() as compiled:
        svi = SVI(
            counted_model,
            autoguide.AutoMultivariateNormal(counted_model),
            optim.Adam(0.02),
            Trace_ELBO(),
        )
        second = svi.run(jax.random.key(0), 500, DATA + 9.0, progress_bar=False)
    assert compiled == [0]
    assert second.params["auto_loc"] > first.params["auto_loc"]
    # Medians are those of the guide that was asked, and other options are another program.
    assert _fit_auto(DATA + 9.0, 500)[1]["mu"] > near["mu"]
    assert _fit_auto(DATA, 1, init_scale=0.7)[0].params["auto_scale_tril"] > 0.6


def test_a_second_run_from_fitted_params_or_state_compiles_nothing(compilations):
    first, _ = _fit_auto(DATA, 500)
    guide = autoguide.AutoMultivariateNormal(counted_model)
    svi = SVI(counted_model, guide, optim.Adam(0.02), Trace_ELBO())
    with compilations() as compiled:
        again = svi.run(
            jax.random.key(1), 1, DATA + 0.1, init_params=first.params, progress_bar=False
        )
        more = svi.run(jax.random.key(1), 1, DATA + 0.1, init_state=first.state, progress_bar=False)
        state = svi.init(jax.random.key(0), DATA, init_params={"auto_loc": np.array([3])})
    assert compiled == [0]
    # A first step of Adam is of its size.
    for result in (again, more):
        assert abs(result.params["auto_loc"] - first.params["auto_loc"]) < 0.021
    assert svi.get_params(state)["auto_loc"] == 3.0


def test_a_list_of_guides_keeps_its_program_apart_from_what_is_added_to_it():
    def model(y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(a + numpyro.sample("b", dist.Normal(0.0, 1.0)), 1.0), obs=y)

    def parts(*names):
        guide = autoguide.AutoGuideList(model)
        for name in names:
            guide.append(autoguide.AutoDelta(handlers.block(model, expose=[name])))
        return guide

    def run(guide):
        return SVI(model, guide, optim.Adam(0.02), Trace_ELBO()).run(
            jax.random.key(0), 5, 1.0, progress_bar=False
        )

    with pytest.raises(InputError, match="'b' is in no part"):
        run(parts("a"))
    guide = parts("a", "b")
    assert set(run(guide).params) == set(run(parts("a", "b")).params)


def test_predictions_for_new_data_and_params_trace_and_compile_nothing(compilations):
    samples = {"mu": np.zeros(30, np.float32)}
    Predictive(counted_model, samples)(jax.random.key(0), None)
    calls = dict(CALLS)
    with compilations() as compiled:
        drawn = Predictive(counted_model, {"mu": samples["mu"] + 50.0})(jax.random.key(1), None)
    assert compiled == [0]
    assert calls == CALLS
    assert drawn["y"].min() > 40.0


def test_a_changed_global_is_noticed():
    def model(y):
        numpyro.sample("mu", dist.Normal(PLACE["at"], 1.0))

    def run():
        svi = SVI(model, counted_guide, optim.Adam(0.02), Trace_ELBO())
        return svi.run(jax.random.key(0), 5, DATA, progress_bar=False).losses

    before = run()
    PLACE["at"] = 5.0
    assert not np.array_equal(before, run())


def test_a_changed_global_is_noticed_by_every_guide_of_the_model():
    def model(y):
        mu = numpyro.sample("mu", dist.Normal(PLACE["at"], 1.0))
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    guides = [autoguide.AutoNormal(model), autoguide.AutoDelta(model)]

    def losses():
        runs = [SVI(model, guide, optim.Adam(0.02), Trace_ELBO()) for guide in guides]
        # The first run traces the model, which must not hide the change from the second.
        return [
            float(svi.run(jax.random.key(0), 1, 1.0, progress_bar=False).losses[0]) for svi in runs
        ]

    before = losses()
    PLACE["at"] += 7.0
    after = losses()
    assert all(a > b + 5.0 for a, b in zip(after, before, strict=True))


PLACE = {"at": 0.0}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (lambda: optim.Adam(1e-3), lambda: optim.Adam(1e-3), True),
        (lambda: optim.Adam(1e-3), lambda: optim.Adam(2e-3), False),
        (lambda: optim.Adam(1e-3), lambda: optim.Adam(1e-3, b1=0.5), False),
        (lambda: optim.Adam(1e-3), lambda: optim.Adagrad(1e-3), False),
        (lambda: optim.ClippedAdam(1e-3), lambda: optim.ClippedAdam(1e-3, clip_norm=1.0), False),
        (lambda: optim.Adam(lambda i: 1e-3), lambda: optim.Adam(lambda i: 2e-3), False),
        (lambda: Trace_ELBO(), lambda: Trace_ELBO(), True),
        (lambda: Trace_ELBO(2), lambda: Trace_ELBO(3), False),
    ],
)
def test_optimisers_and_objectives_are_the_same_if_they_compute_the_same(one, other, same):
    assert (structure_key(one()) == structure_key(other())) is same


class _Held:
    def __init__(self, y):
        self.y = y


def _of_object(data):
    a = numpyro.sample("a", dist.Normal(0.0, 10.0))
    numpyro.sample("y", dist.Normal(a, 1.0), obs=data.y)


def test_what_an_object_holds_may_change():
    data = _Held(jnp.ones(20))
    svi = SVI(_of_object, autoguide.AutoNormal(_of_object), optim.Adam(0.1), Trace_ELBO())
    state = svi.init(jax.random.key(0), data)
    before = svi.evaluate(state, data)
    assert svi.update(state, data)[1] == pytest.approx(float(before), rel=1e-5)
    for new in (jnp.full(20, 7.0), np.full(20, 7.0)):
        data.y = new
        fresh = svi.evaluate(state, _Held(jnp.full(20, 7.0)))
        assert fresh > before + 100.0
        assert svi.evaluate(state, data) == pytest.approx(float(fresh), rel=1e-5)
        assert svi.update(state, data)[1] == pytest.approx(float(fresh), rel=1e-5)
    data.y[:] = 0.0
    assert svi.evaluate(state, data) < fresh - 100.0


def _in_order(table, **more):
    for name, column in {**table, **more}.items():
        a = numpyro.sample(f"a_{name}", dist.Normal(0.0, 10.0))
        numpyro.sample(f"y_{name}", dist.Normal(a, 1.0), obs=column)


def test_dictionaries_keep_their_order():
    call = {"table": {"z": jnp.ones(3), "a": jnp.zeros(3)}, "y": jnp.ones(1), "c": 2.0}
    guide = autoguide.AutoNormal(_in_order)
    svi = SVI(_in_order, guide, optim.Adam(0.1), Trace_ELBO())
    result = svi.run(jax.random.key(0), 5, progress_bar=False, **call)
    peer = numpyro.infer.SVI(
        _in_order,
        numpyro.infer.autoguide.AutoNormal(_in_order),
        numpyro.optim.Adam(0.1),
        numpyro.infer.Trace_ELBO(),
    )
    theirs = peer.run(jax.random.key(0), 5, progress_bar=False, **call)
    np.testing.assert_allclose(result.losses, theirs.losses, rtol=1e-4)
    sites = list(taut.target(_in_order, **call).program.sites)
    assert [site.name for site in sites] == ["a_z", "a_a", "a_y", "a_c"]


@pytest.mark.parametrize("debug", [jax.disable_jit, lambda: jax.debug_nans(True)])
def test_a_run_can_be_debugged(debug):
    def run():
        svi = SVI(_of_object, autoguide.AutoNormal(_of_object), optim.Adam(0.1), Trace_ELBO())
        return svi.run(jax.random.key(0), 3, _Held(jnp.ones(20)), progress_bar=False).losses

    with debug():
        found = run()
    np.testing.assert_allclose(found, run(), rtol=1e-5)


def test_an_object_that_the_model_changes_compiles_nothing_anew(compilations):
    class Counter:
        runs = 0

    def model(counter, y):
        counter.runs += 1
        a = numpyro.sample("a", dist.Normal(0.0, 10.0))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    counter, y = Counter(), jnp.ones(20)
    svi = SVI(model, autoguide.AutoNormal(model), optim.Adam(0.1), Trace_ELBO())
    state = svi.init(jax.random.key(0), counter, y)
    state, _ = svi.update(state, counter, y)
    runs = counter.runs
    with compilations() as compiled:
        state, _ = svi.update(state, counter, y)
    assert (counter.runs, compiled) == (runs, [0])


def test_a_deep_object_is_an_argument_like_any_other():
    class Link:
        def __init__(self, below):
            self.below = below

    def model(chain, y):
        a = numpyro.sample("a", dist.Normal(0.0, 10.0))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    chain = None
    for _ in range(2000):
        chain = Link(chain)
    assert taut.target(model, chain, np.ones(3)).program.dim == 1
