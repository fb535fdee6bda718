"""`SVI` as NumPyro programs use it: results, state, params, failures."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.infer
import pytest
from jax.example_libraries import stax
from numpyro.distributions import constraints

import taut
from taut.infer import SVI, Trace_ELBO, optim

COIN = np.array([1.0] * 12 + [0.0] * 8, np.float32)


def coin(data):
    p = numpyro.sample("p", dist.Normal(0.0, 1.5))
    with numpyro.plate("tosses", len(data)):
        numpyro.sample("toss", dist.Bernoulli(logits=p), obs=data)


def coin_guide(data):
    loc = numpyro.param("loc", 0.0)
    scale = numpyro.param("scale", 0.3, constraint=constraints.positive)
    numpyro.sample("p", dist.Normal(loc, scale))


ADAM = optim.Adam(0.01)
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def svi():
    return SVI(coin, coin_guide, ADAM, Trace_ELBO())


@pytest.fixture(scope="module")
def reference():
    svi = numpyro.infer.SVI(coin, coin_guide, ADAM, numpyro.infer.Trace_ELBO())
    return svi.run(KEY, 300, COIN, progress_bar=False)


def _run(svi, steps, *args, **options):
    return svi.run(KEY, steps, *args, progress_bar=False, **options)


def test_the_same_key_gives_numpyros_losses_and_params(svi, reference, same_to_rounding):
    result = _run(svi, 300, COIN)
    params, _, losses = result
    assert result._fields == ("params", "state", "losses")
    # Roundings of 300 steps add up.
    same_to_rounding(losses[:100], reference.losses[:100], np.float32)
    same_to_rounding(losses, reference.losses, np.float32, condition=10)
    for name, value in reference.params.items():
        same_to_rounding(params[name], value, np.float32, condition=10)


def test_chunks_change_no_bit(svi):
    whole = _run(svi, 230, COIN)
    first = _run(svi, 97, COIN)
    rest = svi.run(jax.random.key(99), 133, COIN, progress_bar=False, init_state=first.state)
    state = svi.init(KEY, COIN)
    single = []
    for _ in range(5):
        state, loss = svi.update(state, COIN)
        single.append(loss)
    assert np.array_equal(np.concatenate([first.losses, rest.losses]), whole.losses)
    assert jax.tree.all(jax.tree.map(np.array_equal, rest.params, whole.params))
    assert jax.random.key_data(rest.state.rng_key).tolist() == (
        jax.random.key_data(whole.state.rng_key).tolist()
    )
    # A loop of one program and a program of one step may round differently.
    assert np.allclose(single, whole.losses[:5], rtol=1e-6)


def test_evaluate_is_the_loss_of_the_next_step(svi, same_to_rounding):
    state = svi.init(KEY, COIN)
    expected = svi.evaluate(state, COIN)
    _, loss = svi.update(state, COIN)
    same_to_rounding(expected, loss, np.float32)


def test_it_works_inside_jit_and_vmap(svi, same_to_rounding):
    state = svi.init(KEY, COIN)
    stepped, loss = jax.jit(svi.update)(state, COIN)
    _, expected = svi.update(state, COIN)
    same_to_rounding(loss, expected, np.float32)
    inside = jax.jit(svi.get_params)(stepped)
    outside = svi.get_params(stepped)
    same_to_rounding(inside["scale"], outside["scale"], np.float32)

    keys = jax.random.split(KEY, 3)
    many = jax.vmap(lambda k: svi.run(k, 20, COIN, progress_bar=False))(keys)
    assert many.losses.shape == (3, 20)
    assert many.verdict is None
    alone = svi.run(keys[2], 20, COIN, progress_bar=False)
    same_to_rounding(many.losses[2], alone.losses, np.float32)


def test_init_params_are_where_it_starts(svi, same_to_rounding):
    state = svi.init(KEY, COIN, init_params={"scale": 0.7})
    found = svi.get_params(state)
    same_to_rounding(found["scale"], 0.7, np.float32)
    assert float(found["loc"]) == 0.0


def test_wrong_init_params_are_errors_all_at_once(svi):
    with pytest.raises(taut.InputError) as caught:
        _run(svi, 5, COIN, init_params={"scal": 1.0, "loc": np.zeros(2)})
    text = str(caught.value)
    assert "did you mean 'scale'" in text
    assert "'loc'] has shape (2,)" in text


def test_params_without_a_value_start_where_the_user_says(same_to_rounding):
    def model(x):
        weight = numpyro.param("weight", constraint=constraints.positive)
        numpyro.sample("y", dist.Normal(jnp.sum(weight * x), 1.0), obs=2.0)

    def guide(x):
        pass

    svi = SVI(model, guide, ADAM, Trace_ELBO())
    with pytest.raises(taut.InputError):
        svi.init(KEY, 1.0)
    reference = numpyro.infer.SVI(model, guide, ADAM, numpyro.infer.Trace_ELBO())
    for start in (0.5, np.array([0.5, 0.2], np.float32)):
        losses = [_run(s, 5, 1.0, init_params={"weight": start}).losses for s in (svi, reference)]
        same_to_rounding(*losses, np.float32)
    state = jax.jit(lambda key: svi.init(key, 1.0, init_params={"weight": 0.5}))(KEY)
    same_to_rounding(svi.get_params(state)["weight"], 0.5, np.float32)
    # Nothing of an earlier run is taken for what this one starts from.
    with pytest.raises(taut.InputError, match="param 'weight' has no value to start from"):
        svi.init(KEY, 1.0)


def test_a_module_makes_its_own_params(same_to_rounding):
    def model(x):
        layer = numpyro.module("layer", stax.Dense(1), (2,))
        numpyro.sample("y", dist.Normal(layer(x)[..., 0], 1.0), obs=jnp.ones(3))

    def guide(x):
        pass

    x = np.linspace(-1.0, 1.0, 6, dtype=np.float32).reshape(3, 2)
    svi = SVI(model, guide, ADAM, Trace_ELBO())
    reference = numpyro.infer.SVI(model, guide, ADAM, numpyro.infer.Trace_ELBO())
    results = [_run(s, 5, x) for s in (svi, reference)]
    same_to_rounding(results[0].losses, results[1].losses, np.float32)
    again = _run(svi, 5, x, init_params=results[0].params)
    assert again.losses[0] < results[0].losses[0]


@pytest.mark.parametrize("steps", [3.0, np.int32(3), jnp.array(3)])
def test_a_whole_number_of_any_type_is_a_number_of_steps(svi, steps):
    assert _run(svi, steps, COIN).losses.shape == (3,)


def test_wrong_options_are_errors(svi):
    with pytest.raises(taut.InputError, match="vectorize_particles must be True, False or"):
        Trace_ELBO(num_particles=2, vectorize_particles="yes")
    for steps in (0, -3, 2.5, float("inf"), "ten", None):
        with pytest.raises(taut.InputError, match="num_steps must be a positive"):
            _run(svi, steps, COIN)
    with pytest.raises(taut.InputError, match='stop must be "auto"'):
        _run(svi, 5, COIN, stop="yes")
    with pytest.raises(taut.InputError, match="the optimiser is a float"):
        SVI(coin, coin_guide, 0.1, Trace_ELBO())
    fresh = SVI(coin, coin_guide, ADAM, Trace_ELBO())
    with pytest.raises(taut.InputError, match="call init, run or update"):
        fresh.get_params(svi.init(KEY, COIN))


def test_a_misspelt_site_of_the_guide_is_an_error():
    def guide(data):
        numpyro.sample("q", dist.Normal(numpyro.param("loc", 0.0), 1.0))

    def model(data):
        numpyro.sample("p_", dist.Normal(0.0, 1.0))
        numpyro.sample("other", dist.Normal(0.0, 1.0))

    with pytest.raises(taut.InputError, match=r"draws no site 'p_'.*\n.*'other'"):
        _run(SVI(model, guide, ADAM, Trace_ELBO()), 5, COIN)


def test_shapes_that_differ_are_an_error():
    def guide(data):
        numpyro.sample("p", dist.Normal(jnp.zeros(4), 1.0))

    with pytest.raises(taut.InputError, match=r"the guide draws the shape \(4,\)"):
        _run(SVI(coin, guide, ADAM, Trace_ELBO()), 5, COIN)


def test_plates_of_other_sizes_are_an_error():
    def rows():
        with numpyro.plate("g", 4):
            numpyro.sample("th", dist.Normal(0.0, 1.0))

    def guide():
        with numpyro.plate("g", 5):
            numpyro.sample("th", dist.Normal(numpyro.param("loc", 0.0), 1.0))

    with pytest.raises(taut.InputError, match="'g' has 5 rows in the guide and 4 in the model"):
        _run(SVI(rows, guide, ADAM, Trace_ELBO()), 5)


def test_a_site_with_a_value_of_its_own_is_an_error():
    def guide(data):
        numpyro.sample("p", dist.Normal(numpyro.param("loc", 0.0), 1.0), obs=0.5)

    with pytest.raises(taut.InputError, match=r"'p' has obs=, so it is not drawn"):
        _run(SVI(coin, guide, ADAM, Trace_ELBO()), 5, COIN)


def test_a_constraint_follows_the_param_it_depends_on(same_to_rounding):
    def model():
        numpyro.sample("x", dist.Normal(3.0, 1.0))
        numpyro.sample("y", dist.Normal(8.0, 1.0))

    def guide():
        top = numpyro.param("top", 1.0)
        low = numpyro.param("low", 0.5, constraint=constraints.less_than(top))
        numpyro.sample("x", dist.Normal(top, 1.0))
        numpyro.sample("y", dist.Normal(low, 1.0))

    svi = SVI(model, guide, optim.Adam(0.05), Trace_ELBO(num_particles=4))
    result = _run(svi, 3000)
    # Beside the bound, the best is top = low = 5.5: the bound moves from 1 to there.
    assert result.params["low"] < result.params["top"]
    same_to_rounding(svi.get_params(result.state)["low"], result.params["low"], np.float32)
    assert abs(float(result.params["top"]) - 5.5) < 0.3  # the steps' own noise is 0.1
    assert float(result.params["low"]) > 4.5


def broken_guide(data):
    scale = 0.5 - 0.02 * numpyro.param("drift", 0.0)
    numpyro.sample("p", dist.Normal(numpyro.param("loc", 0.0), scale))


def broken(data):
    p = numpyro.sample("p", dist.Normal(0.0, 1.0))
    drift = numpyro.param("drift", 0.0)
    numpyro.factor("push", 50.0 * drift)
    numpyro.factor("data", -((p - 1.0) ** 2))


def test_a_step_that_is_not_finite_stops_and_says_why():
    result = _run(SVI(broken, broken_guide, optim.Adam(3.0), Trace_ELBO()), 2000, COIN)
    assert result.verdict.reason == "non-finite"
    assert "'p'" in result.verdict.message
    assert "the scale of Normal is -0." in result.verdict.message
    assert len(result.losses) < 2000
    assert np.isfinite(result.losses[:-1]).all()
    assert not np.isfinite(result.losses[-1])
    assert all(np.isfinite(v) for v in result.params.values())
    assert "A retry did not help: from step" in result.verdict.message
    svi = SVI(broken, broken_guide, optim.Adam(3.0), Trace_ELBO())
    assert np.isfinite(svi.evaluate(result.state, COIN))


def test_stable_update_goes_on_and_counts_what_it_passed_over():
    svi = SVI(broken, broken_guide, optim.Adam(0.1), Trace_ELBO())
    result = _run(svi, 1200, COIN, stable_update=True)
    skipped = int(np.isnan(result.losses).sum())
    assert len(result.losses) == 1200
    assert f"{skipped:,} steps were passed over" in result.verdict.message
    assert all(np.isfinite(v) for v in result.params.values())


def two_modes():
    places = dist.Normal(jnp.array([-5.0, 5.0]), 1.0)
    numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(jnp.array([0.8, 0.2])), places))


def two_modes_guide():
    weight = numpyro.param("weight", 0.5, constraint=constraints.unit_interval)
    parts = [dist.Normal(numpyro.param("a", -4.0), 1.0), dist.Normal(numpyro.param("b", 4.0), 1.0)]
    shares = dist.Categorical(jnp.stack([weight, 1.0 - weight]))
    numpyro.sample("x", dist.MixtureGeneral(shares, parts))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_free_weights_of_a_mixture_are_learned(seed):
    svi = SVI(two_modes, two_modes_guide, optim.Adam(5e-3), Trace_ELBO(num_particles=4))
    params = svi.run(jax.random.key(seed), 4000, progress_bar=False).params
    # At this step size the weight keeps jittering, with a standard deviation of about 0.012.
    assert abs(float(params["weight"]) - 0.8) < 0.06


def outside_guide(data):
    # The scale is fixed, so that one draw in a hundred is negative.
    numpyro.sample("s", dist.Normal(numpyro.param("loc", 2.33), 1.0))


def positive(data):
    numpyro.sample("s", dist.HalfNormal(2.0))
    numpyro.factor("data", data)


def test_a_draw_outside_the_support_is_passed_over_and_counted():
    svi = SVI(positive, outside_guide, optim.SGD(0.0), Trace_ELBO())
    result = _run(svi, 1500, 0.0)
    outside = int(np.isposinf(result.losses).sum())
    # One in a hundred, within five standard errors.
    assert abs(outside - 14.9) < 5 * np.sqrt(14.9)
    assert f"{outside} steps were passed over because the guide drew" in result.verdict.message
    assert len(result.losses) == 1500


def test_many_draws_outside_the_support_end_the_run():
    svi = SVI(positive, outside_guide, optim.SGD(0.0), Trace_ELBO())
    result = _run(svi, 1500, 0.0, init_params={"loc": -9.0})
    assert result.verdict.reason == "non-finite"
    assert "site 's': the guide's Normal drew -" in result.verdict.message
    assert "outside the support of the model's HalfNormal" in result.verdict.message
    assert len(result.losses) == 20


def test_mutable_state_is_carried():
    def model(data):
        seen = numpyro.primitives.mutable("seen", {"calls": 0})
        seen["calls"] = seen["calls"] + 1
        coin(data)

    svi = SVI(model, coin_guide, ADAM, Trace_ELBO())
    result = _run(svi, 10, COIN)
    # One call at the start, one in each step.
    assert int(result.state.mutable_state["seen"]["calls"]) == 11


def test_arguments_that_must_be_concrete_are_found():
    def model(index, y):
        groups = len(np.unique(index))
        with numpyro.plate("groups", groups):
            theta = numpyro.sample("theta", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(theta[index], 1.0), obs=y)

    def guide(index, y):
        loc = numpyro.param("loc", jnp.zeros(len(np.unique(index))))
        with numpyro.plate("groups", len(loc)):
            numpyro.sample("theta", dist.Normal(loc, 0.5))

    index, y = np.array([0, 0, 1, 2]), np.zeros(4)
    result = _run(SVI(model, guide, ADAM, Trace_ELBO()), 20, index, y)
    assert result.params["loc"].shape == (3,)


def test_states_and_results_survive_pickling(svi):
    result = _run(svi, 50, COIN)
    again = pickle.loads(pickle.dumps(result))
    assert again.verdict.message == result.verdict.message
    fresh = SVI(coin, coin_guide, ADAM, Trace_ELBO())
    more = fresh.run(KEY, 10, COIN, progress_bar=False, init_state=again.state)
    expected = _run(svi, 10, COIN, init_state=result.state)
    assert np.array_equal(more.losses, expected.losses)


def test_ctrl_c_returns_what_was_reached(svi, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("taut.loop.progress.Progress.update", interrupt)
    result = _run(svi, 500, COIN)
    assert result.verdict.reason == "interrupted"
    assert 0 < len(result.losses) < 500
    assert np.isfinite(result.params["loc"])


def test_the_progress_line_says_how_far_it_is(svi, monkeypatch):
    shown = []

    class Line:
        def __init__(self, enabled):
            assert enabled

        def update(self, phase, **numbers):
            shown.append(phase)

        def finish(self, phase, **numbers):
            shown.append(phase)

    monkeypatch.setattr("taut.infer.svi.Progress", Line)
    svi.run(KEY, 20, COIN)
    assert shown == ["step 10 of 20", "step 20 of 20", "20 steps, not settled"]


def test_auto_stops_when_settled_and_only_then(svi):
    started_at_the_end = {"loc": 0.36, "scale": 0.43}
    stopped = _run(svi, 50_000, COIN, stop="auto", init_params=started_at_the_end)
    assert stopped.verdict.reason == "converged"
    assert 1000 <= len(stopped.losses) < 50_000
    slow = SVI(coin, coin_guide, optim.Adam(1e-4), Trace_ELBO())
    moving = _run(slow, 2000, COIN, init_params={"loc": -2.0})
    assert not moving.verdict.converged
    assert moving.verdict.reason == "steps"


def boxed():
    numpyro.sample("x", dist.Normal(0.0, 1.0))


def formula(name, stray):
    def guide():
        a = numpyro.param("a", 2.0, constraint=constraints.positive)
        low = -10.0 if stray else -5.0 * a
        x = numpyro.sample("x", dist.Uniform(low, 10.0))
        numpyro.factor(name, -0.5 * (x / a) ** 2)

    return guide


def test_a_loss_that_a_factor_leaves_without_a_bound_is_caught():
    svi = SVI(boxed, formula("shape", stray=True), optim.Adam(0.05), Trace_ELBO())
    with pytest.warns(UserWarning, match="the loss can fall without bound"):
        result = _run(svi, 3000)
    assert [finding.level for finding in result.findings] == ["bad"]
    assert result.verdict.reason == "unbounded"
    assert len(result.losses) < 500
    assert "factor 'shape' has parameters that do not reach the sampler" in result.verdict.message
    assert "taut.guides.energy" in result.verdict.message
    # A factor whose parameters the sampler knows is a term of the ELBO, as it always was.
    other = SVI(boxed, formula("term", stray=False), optim.Adam(0.05), Trace_ELBO())
    with pytest.warns(UserWarning, match="The guide's factor 'term' is subtracted from the ELBO"):
        result = _run(other, 600)
    assert len(result.losses) == 600
    (finding,) = result.findings
    assert finding.level == "doubt"
    assert "it does not change what is drawn" in finding.message
    assert "Take the factor out" in finding.advice


def test_a_factor_that_is_the_jacobian_is_said_to_be_that():
    def model():
        numpyro.sample("x", dist.LogNormal(0.0, 1.0))

    def guide():
        u = numpyro.sample("u", dist.Normal(numpyro.param("loc", 0.5), 1.0))
        numpyro.deterministic("x", jnp.exp(u))
        numpyro.factor("jacobian", -u)

    result = _run(SVI(model, guide, optim.Adam(0.05), Trace_ELBO()), 20)
    (finding,) = result.findings
    assert finding.level == "note"
    assert "is the Jacobian term of the sites it computes" in finding.message


def positive_model():
    numpyro.sample("x", dist.HalfNormal(1.0))


def folded():
    u = numpyro.sample("u", dist.Normal(numpyro.param("loc", 0.5), 1.0))
    numpyro.deterministic("x", u**2)


def hidden():
    u = numpyro.sample("u", dist.Normal(numpyro.param("loc", 0.5), 0.1))
    numpyro.deterministic("x", jnp.exp(u + 0.1 * jax.random.normal(numpyro.prng_key())))


@pytest.mark.parametrize(
    ("guide", "sentence"),
    [
        (folded, "by a map whose determinant changes sign, so it cannot be inverted"),
        (hidden, "computed with random numbers \\(numpyro.prng_key\\) that are no site"),
    ],
)
def test_maps_without_a_density_are_told_before_the_first_step(guide, sentence):
    svi = SVI(positive_model, guide, optim.Adam(0.01), Trace_ELBO())
    with pytest.warns(UserWarning, match=sentence):
        svi.init(KEY)
    assert [f.level for f in _run(svi, 10).findings] == ["bad"]
