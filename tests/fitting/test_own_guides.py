"""`taut.fit` with a guide function: checked, fitted with nothing to choose, and right."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro import deterministic, factor, param, plate, sample
from numpyro.distributions import constraints
from numpyro.infer.autoguide import AutoGuide as NumPyroAutoGuide
from scipy.special import gammaln
from seeds import EACH_SEED, SEEDS

import taut
from taut.infer import autoguide
from taut.infer.autoguide.guide import AutoGuide as TautAutoGuide

X = np.linspace(-1.0, 1.0, 30)
Y = 1.0 + 2.0 * X + 0.5 * np.random.default_rng(0).normal(size=30)


def positive(name, value=1.0):
    return param(name, value, constraint=constraints.positive)


def fit(model, *args, seed=0, **kwargs):
    return taut.fit(model, *args, seed=seed, progress=False, **kwargs)


def log_normal():
    sample("x", dist.LogNormal(0.0, 1.0))


def exponential():
    u = sample("u", dist.Normal(param("m", 0.5), positive("s", 0.3)))
    sample("x", dist.Delta(jnp.exp(u)))


@EACH_SEED
def test_a_jacobian_that_nobody_wrote_is_counted(seed):
    found = fit(log_normal, guide=exponential, seed=seed)
    m, s = (float(found.guide.params[name]) for name in "ms")
    # KL(q | p), which a fit may leave at its tolerance.
    assert 0.5 * (s**2 + m**2 - 1.0) - np.log(s) < 0.01
    value, error = found.log_evidence
    # At the end log p - log q is rounding: terms of up to u^2 / 2 = 8 in single precision.
    assert abs(value) < 5 * error + 8 * np.finfo(np.float32).eps
    assert any("Taut adds -log|det J|" in finding.message for finding in found.findings)


def test_an_exact_guide_is_found_nearer_than_the_tolerance():
    # Its gradients have no noise at the end. Of 150 seeds one is 0.02 off, all others 0.003.
    fits = [fit(log_normal, guide=exponential, seed=seed, checks=False) for seed in SEEDS]
    off = [max(abs(f.guide.params["m"]), abs(f.guide.params["s"] - 1.0)) for f in fits]
    assert np.sort(off)[-2] < 0.01


PRIOR, SEEN = np.array([2.0, 3.0, 4.0]), np.array([5.0, 5.0, 10.0])


def shares(y=None):
    p = sample("p", dist.Dirichlet(jnp.asarray(PRIOR)))
    sample("y", dist.Multinomial(20, p), obs=y)


def broken_stick(y=None):
    low = param("low", jnp.array([3.0, 4.0]), constraint=constraints.positive)
    high = param("high", jnp.array([5.0, 3.0]), constraint=constraints.positive)
    v = sample("v", dist.Beta(low, high).to_event(1))
    deterministic("p", jnp.stack([v[0], (1 - v[0]) * v[1], (1 - v[0]) * (1 - v[1])]))


def test_a_simplex_is_made_of_a_broken_stick():
    found = fit(shares, SEEN, guide=broken_stick)
    # The first piece is Beta(2 + 5, 3 + 4 + 15), the second of what is left Beta(3 + 5, 4 + 10).
    np.testing.assert_allclose(found.guide.params["low"], [7.0, 8.0], atol=0.01)
    np.testing.assert_allclose(found.guide.params["high"], [22.0, 14.0], atol=0.03)
    after = PRIOR + SEEN
    evidence = gammaln(PRIOR.sum()) - gammaln(PRIOR).sum() + gammaln(21) - gammaln(SEEN + 1).sum()
    evidence += gammaln(after).sum() - gammaln(after.sum())
    # Four sums of terms of up to 60 in single precision.
    assert found.log_evidence[0] == pytest.approx(
        evidence, abs=float(240 * np.finfo(np.float32).eps)
    )


def two_bumps():
    weights = dist.Categorical(jnp.array([0.8, 0.2]))
    sample("x", dist.MixtureSameFamily(weights, dist.Normal(jnp.array([-5.0, 5.0]), 1.0)))


def free_weight():
    w = param("w", 0.5, constraint=constraints.unit_interval)
    parts = [dist.Normal(param("a", -4.0), 1.0), dist.Normal(param("b", 4.0), 1.0)]
    sample("x", dist.MixtureGeneral(dist.Categorical(jnp.stack([w, 1 - w])), parts))


@EACH_SEED
def test_the_weight_of_a_mixture_is_learned(seed):
    found = fit(two_bumps, guide=free_weight, seed=seed)
    assert abs(found.guide.params["w"] - 0.8) < 0.005
    assert found.trust == "trusted"


def wind():
    sample("angle", dist.VonMises(3.0, 4.0))


def von_mises():
    sample("angle", dist.VonMises(param("loc", 1.0), positive("concentration")))


@EACH_SEED
def test_an_angle_is_learned_next_to_where_it_wraps(seed):
    # A VonMises draw is no smooth function of its parameters, and a third lies beyond pi.
    found = fit(wind, guide=von_mises, seed=seed)
    assert abs(found.guide.params["loc"] - 3.0) < 0.01
    assert found.guide.params["concentration"] == pytest.approx(4.0, rel=0.01)


def test_a_normal_guide_of_an_angle_is_refused_with_the_line_to_write():
    def guide():
        sample("angle", dist.Normal(param("loc", 0.0), positive("scale", 0.5)))

    with pytest.raises(taut.InputError, match=r"dist\.VonMises\(loc, concentration\)"):
        fit(wind, guide=guide)


def plane():
    sample("x", dist.Normal(0.0, 1.0))
    sample("y", dist.Normal(0.0, 2.0))


def formula_in_a_box():
    a, b = positive("s1", 2.0), positive("s2", 2.0)
    x, y = sample("x", dist.Uniform(-10, 10)), sample("y", dist.Uniform(-10, 10))
    factor("formula", -0.5 * ((x / a) ** 2 + (y / b) ** 2) - jnp.log(a * b))


def test_a_factor_is_fitted_as_the_formula_it_states():
    found = fit(plane, guide=formula_in_a_box)
    # Quadrature is exact to what the box cuts off: 2 erfc(5 / sqrt 2) = 1e-6 of y.
    assert found.guide.params["s1"] == pytest.approx(1.0, abs=1e-4)
    assert found.guide.params["s2"] == pytest.approx(2.0, abs=1e-4)
    assert abs(found.log_evidence[0]) < 1e-5
    assert found.trust == "trusted"
    # Draws are those of the formula, not of the uniform sampler, and not nodes of a lattice.
    draws = found.sample(4000, corrected=False)
    assert len(np.unique(draws["x"])) > 3500
    assert abs(draws["y"].std() - 2.0) < 5 * 2.0 / np.sqrt(2 * 4000)


def test_a_formula_beside_other_draws_is_refused():
    def guide():
        formula_in_a_box()
        z = sample("z", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        factor("more", -0.1 * z**2)

    with pytest.raises(taut.InputError, match="draw the model's sites and nothing else, but z"):
        fit(plane, guide=guide)


def line(x, y=None):
    a = sample("a", dist.Normal(0.0, 10.0))
    b = sample("b", dist.Normal(0.0, 10.0))
    s = sample("s", dist.HalfNormal(5.0))
    with plate("n", len(x)):
        sample("y", dist.Normal(a + b * x, s), obs=y)


def independent(x, y=None):
    for name in "ab":
        sample(name, dist.Normal(param(f"{name}_loc", 0.0), positive(f"{name}_scale")))
    sample("s", dist.LogNormal(param("s_loc", 0.0), positive("s_scale", 0.3)))


def test_a_fit_of_ones_own_guide_is_a_fit(tmp_path):
    found = fit(line, X, y=Y, guide=independent)
    named = fit(line, X, y=Y, guide="mean-field")
    # Both are the best independent Gaussian of a, b and log s; each stops within 0.01 nat of it.
    errors = np.hypot(found.elbo[1], named.elbo[1])
    assert abs(found.elbo[0] - named.elbo[0]) < 0.02 + 5 * errors
    assert found.guide_name == "program"
    assert "guide of your own on 3 latent values" in str(found)
    assert "b" in str(found.summary())
    assert found.predict(X[:4], draws=50)["y"].shape == (50, 4)
    assert np.isfinite(found.log_prob({"a": 1.0, "b": 2.0, "s": 0.5}))
    found.plot.loss()

    path = tmp_path / "fit.npz"
    found.save(path)
    loaded = taut.load(path)
    assert loaded.trust == found.trust
    np.testing.assert_array_equal(loaded.sample(100)["b"], found.sample(100)["b"])
    assert loaded.guide.params["a_loc"] == found.guide.params["a_loc"]
    with pytest.raises(taut.InputError, match="need the function, which is not kept"):
        taut.load(path, line, X, y=Y).draws(10)


def test_more_draws_and_densities_of_draws_are_those_of_the_guide(same_to_rounding):
    found = fit(line, X, y=Y, guide=independent)
    assert len(found.sample(6000)["a"]) == 6000
    draws = found.draws(50)
    same_to_rounding(found.guide.log_prob(draws.z), draws.log_q, np.float32, 10.0)


def correlated(x, y=None):
    tril = param("tril", 0.1 * jnp.eye(3), constraint=constraints.lower_cholesky)
    u = sample("u", dist.MultivariateNormal(param("m", jnp.zeros(3)), scale_tril=tril))
    deterministic("a", u[0])
    deterministic("b", u[1])
    deterministic("s", jnp.exp(u[2]))


def test_sites_computed_from_one_vector_make_a_full_rank_guide():
    found, named = fit(line, X, y=Y, guide=correlated), fit(line, X, y=Y, guide="full-rank")
    errors = np.hypot(found.elbo[1], named.elbo[1])
    assert abs(found.elbo[0] - named.elbo[0]) < 0.02 + 5 * errors
    with pytest.raises(taut.InputError, match="its density is known at its own draws only"):
        found.log_prob({"a": 1.0, "b": 2.0, "s": 0.5})


def test_an_autoguide_is_a_guide():
    found = fit(line, X, y=Y, guide=autoguide.AutoNormal(line))
    assert set(found.guide.params) == {f"{n}_auto_{p}" for n in "abs" for p in ("loc", "scale")}
    with pytest.raises(taut.InputError, match=r"as in AutoNormal\(model\)"):
        fit(line, X, y=Y, guide=autoguide.AutoNormal)


def test_the_same_seed_gives_the_same_fit():
    first, second = (fit(line, X, y=Y, guide=independent, seed=4) for _ in range(2))
    assert first.guide.params == second.guide.params
    np.testing.assert_array_equal(first.sample(50)["a"], second.sample(50)["a"])


def test_other_data_and_another_function_body_are_not_the_old_fit():
    shift = {"by": 0.0}

    def guide(x, y=None):
        sample("a", dist.Normal(param("loc", 0.0) + shift["by"], positive("scale")))
        sample("b", dist.Normal(param("b_loc", 0.0), positive("b_scale")))
        sample("s", dist.LogNormal(param("s_loc", 0.0), positive("s_scale", 0.3)))

    before = fit(line, X, y=Y, guide=guide).guide.params["loc"]
    shift["by"] = 7.0
    moved = fit(line, X, y=Y + 3.0, guide=guide).guide.params["loc"]
    assert moved == pytest.approx(before + 3.0 - 7.0, abs=0.1)


def test_every_mistake_comes_in_one_error_before_the_fit():
    def guide(x, y=None):
        sample("a", dist.Normal(param("loc", jnp.zeros(2)), 1.0))
        sample("sigmaa", dist.LogNormal(param("l", 0.0), 0.1))
        sample("b", dist.Normal(0.0, 1.0), obs=1.0)

    with pytest.raises(taut.InputError) as caught:
        fit(line, X, y=Y, guide=guide)
    told = " ".join(caught.value.problems)
    assert "the guide samples 'sigmaa', which the model does not have" in told
    assert "the model's site 's'" in told
    assert "has shape (2,) in the guide and shape () in the model" in told
    assert "'b' has obs=" in told
    assert "Tracer" not in told


def test_a_point_is_no_distribution():
    def guide(x, y=None):
        sample("a", dist.Delta(param("a_hat", 0.0)))
        sample("b", dist.Normal(param("b_loc", 0.0), 1.0))
        sample("s", dist.LogNormal(param("s_loc", 0.0), 1.0))

    with pytest.raises(taut.InputError, match="gives a the same value in every draw: a point"):
        fit(line, X, y=Y, guide=guide)


def test_a_log_density_has_no_sites_for_a_guide():
    bound = taut.from_log_density(lambda x: -0.5 * x**2, jnp.zeros(()))
    with pytest.raises(taut.InputError, match="needs a NumPyro model, whose sites it draws"):
        fit(bound, guide=independent)


def test_a_spent_budget_returns_the_best_so_far():
    found = fit(line, X, y=Y, guide=independent, budget=1e-3)
    assert found.verdict.reason == "budget"
    assert found.trust == "not trusted"
    assert np.isfinite(found.sample(100)["a"]).all()


def test_a_guide_without_parameters_is_weighed_as_it_is():
    def guide():
        sample("x", dist.LogNormal(0.2, 1.1))

    found = fit(log_normal, guide=guide)
    assert found.verdict.message == "the guide has no parameters to fit"
    value, error = found.log_evidence
    assert abs(value) < 5 * error


def test_minibatches_are_fitted_whole():
    def model(y):
        mu = sample("mu", dist.Normal(0.0, 10.0))
        with plate("n", 30, subsample_size=5) as rows:
            sample("y", dist.Normal(mu, 0.5), obs=jnp.asarray(y)[rows])

    def guide(y):
        sample("mu", dist.Normal(param("loc", 0.0), positive("scale")))

    found = fit(model, Y, guide=guide)
    precision = 1 / 100 + 30 / 0.25
    assert found.guide.params["scale"] == pytest.approx(precision**-0.5, rel=0.01)
    assert found.guide.params["loc"] == pytest.approx(4 * Y.sum() / precision, abs=0.01)


def test_a_site_that_was_left_out_keeps_its_prior_only_if_that_is_allowed():
    def guide(x, y=None):
        sample("a", dist.Normal(param("a_loc", 0.0), positive("a_scale")))
        sample("b", dist.Normal(param("b_loc", 0.0), positive("b_scale")))

    with pytest.raises(taut.InputError, match=r"allow the prior with prior_ok=\{'s'\}"):
        fit(line, X, y=Y, guide=guide)
    found = fit(line, X, y=Y, guide=guide, prior_ok={"s"}, checks=False)
    draws = found.sample(4000, corrected=False)["s"]
    # HalfNormal(5): mean 5 sqrt(2 / pi), sd 5 sqrt(1 - 2 / pi).
    error = 5.0 * np.sqrt((1.0 - 2.0 / np.pi) / 4000)
    assert abs(draws.mean() - 5.0 * np.sqrt(2.0 / np.pi)) < 5 * error
    with pytest.raises(taut.InputError, match="the named guides have every site"):
        fit(line, X, y=Y, prior_ok={"s"})


def test_a_support_that_moves_with_a_parameter_stays_inside_the_models():
    def model():
        sample("x", dist.Uniform(0.0, 1.0))

    def guide():
        sample("x", dist.Uniform(0.0, positive("high", 0.5)))

    # Without the model's bounds the ELBO, log(high), would rise without end.
    found = fit(model, guide=guide)
    assert 0.9 < found.guide.params["high"] <= 1.0
    assert found.sample(4000)["x"].max() <= 1.0


def half_normal():
    sample("s", dist.HalfNormal(1.0))


def folds_later():
    # One to one where it starts, two standard deviations and more above the fold.
    u = sample("u", dist.Normal(param("m", 2.0), positive("sd", 0.3)))
    deterministic("s", jnp.where(u > 0, u, -2.0 * u))


def test_a_map_that_folds_over_while_it_is_fitted_is_not_trusted():
    assert taut.check(half_normal, folds_later).ok
    found = fit(half_normal, guide=folds_later)
    assert found.trust == "not trusted"
    (told,) = [f for f in found.findings if f.name == "guide" and f.level == "bad"]
    assert told.message.startswith("At the guide's fitted parameters s is 1 number made from 1")
    assert "whose determinant changes sign" in told.message


@pytest.mark.parametrize("base", [NumPyroAutoGuide, TautAutoGuide])
def test_an_autoguide_of_the_users_own_that_folds_over_is_not_trusted(base):
    class FoldsLater(base):
        def __call__(self, *args, **kwargs):
            folds_later()
            return {}

        def sample_posterior(self, rng_key, params, *args, **kwargs):
            raise NotImplementedError

    found = fit(half_normal, guide=FoldsLater(half_normal))
    assert found.trust == "not trusted"
    assert any("whose determinant changes sign" in finding.message for finding in found.findings)


def test_a_map_that_becomes_flat_while_it_is_fitted_is_not_trusted():
    def flat_later():
        u = sample("u", dist.Normal(param("m", 1.0), positive("sd", 0.3)))
        deterministic("s", jnp.maximum(u, 0.0))

    found = fit(half_normal, guide=flat_later)
    assert found.trust == "not trusted"
    assert any("have no finite density" in finding.message for finding in found.findings)
    assert np.isfinite(found.sample(100)["s"]).all()
