"""What autoguides promise beyond NumPyro's, and their errors."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from autoguide_models import (
    EIGHT,
    PAIR,
    chained_supports,
    hierarchy,
    local_latents,
    members,
    two_normals,
    unique_groups,
)
from jax import random
from numpyro import handlers, optim
from numpyro.infer import SVI, Trace_ELBO

import taut.infer
from taut._core.errors import InputError
from taut.infer import autoguide


def _init(model, guide, *args, **kwargs):
    svi = SVI(model, guide, optim.Adam(0.01), Trace_ELBO())
    return svi.get_params(svi.init(random.key(0), *args, **kwargs))


def _log_q(guide, params, *args, **kwargs):
    """Values of one draw and the log density the guide's sites give it."""
    run = handlers.substitute(handlers.seed(guide, 1), params)
    trace = handlers.trace(run).get_trace(*args, **kwargs)
    sites = [s for s in trace.values() if s["type"] == "sample"]
    return trace, sum(jnp.sum(s["fn"].log_prob(s["value"])) for s in sites)


@pytest.mark.parametrize("kind", ["AutoNormal", "AutoMultivariateNormal"])
def test_a_support_follows_the_site_it_depends_on(kind, same_to_rounding):
    guide = getattr(autoguide, kind)(chained_supports, init_scale=1.0)
    params = _init(chained_supports, guide, y=0.4)
    draws = guide.sample_posterior(random.key(2), params, sample_shape=(500,))
    assert (draws["low"] < draws["top"]).all()
    assert draws["top"].std() > 0.1
    trace, log_q = _log_q(guide, params, y=0.4)
    top, low = trace["top"]["value"], trace["low"]["value"]
    # By hand: log top and logit(low / top) are the latent coordinates.
    z = jnp.array([jnp.log(top), jnp.log(low / top) - jnp.log1p(-low / top)])
    names = ("top", "low")
    loc = params["auto_loc"] if "auto_loc" in params else [params[f"{n}_auto_loc"] for n in names]
    normal = dist.Normal(jnp.stack(list(loc)), 1.0).log_prob(z).sum()
    expected = normal - jnp.log(top) - jnp.log(low * (top - low) / top)
    same_to_rounding(log_q, expected, np.float32, condition=10.0)


def test_the_map_of_a_site_with_a_dependent_support_stays_inside():
    guide = autoguide.AutoDelta(chained_supports)
    params = _init(chained_supports, guide, y=0.4)
    assert set(params) == {"top_auto_loc", "low_auto_unconstrained_loc"}
    moved = {**params, "top_auto_loc": jnp.array(0.01)}
    assert 0.0 < guide.median(moved)["low"] < 0.01


def test_a_second_data_set_may_have_other_shapes():
    for kind in ("AutoDiagonalNormal", "AutoNormal"):
        guide = getattr(autoguide, kind)(hierarchy)
        for y in (PAIR, EIGHT, PAIR):
            params = _init(hierarchy, guide, y=y)
            assert guide.median(params)["theta"].shape == y.shape


def test_an_improper_prior_with_a_factor_is_recovered(same_to_rounding):
    guide = autoguide.AutoMultivariateNormal(two_normals)
    svi = SVI(two_normals, guide, optim.Adam(0.02), Trace_ELBO(num_particles=8))
    result = svi.run(random.key(0), 4_000, progress_bar=False)
    covariance = guide.covariance(result.params)
    same_to_rounding(
        covariance, guide.get_posterior(result.params).covariance_matrix, np.float32, condition=10.0
    )
    variances, axes = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1])) % 180.0
    # The jitter of Adam at this rate leaves a few per cent.
    assert abs(np.sqrt(variances) / [1.0, 3.0] - 1.0).max() < 0.1
    assert abs(angle - 45.0) < 3.0


def test_a_model_may_need_concrete_values():
    index, y = np.array([0, 0, 1, 2]), np.ones(4)
    guide = autoguide.AutoDiagonalNormal(unique_groups)
    params = _init(unique_groups, guide, index, y=y)
    assert params["auto_loc"].shape == (3,)
    assert _init(unique_groups, guide, index % 2, y=y)["auto_loc"].shape == (2,)


def test_batch_members_are_independent_and_keep_their_sites_together():
    guide = autoguide.AutoBatchedMultivariateNormal(members)
    params = _init(members, guide, PAIR[:1].repeat(3))
    tril = jnp.array([[[1.0, 0.0], [0.8, 0.6]]]).repeat(3, axis=0)
    params["auto_scale_tril"] = tril
    draws = guide.get_posterior(params).sample(random.key(0), (4_000,))
    found = np.corrcoef(np.asarray(draws).T)
    # The latent vector holds mu of each member, then s of each member.
    expected = np.block([[np.eye(3), 0.8 * np.eye(3)], [0.8 * np.eye(3), np.eye(3)]])
    assert abs(found - expected).max() < 5.0 / np.sqrt(4_000)
    assert abs(guide._latent_moments(params, (), {})[1] - expected).max() < 1e-6


def test_guides_survive_pickling_and_draw_the_same():
    for kind in ("AutoNormal", "AutoIAFNormal"):
        guide = getattr(autoguide, kind)(hierarchy)
        params = _init(hierarchy, guide, y=PAIR)
        again = pickle.loads(pickle.dumps(guide))
        for one, other in zip(
            *(jax.tree.leaves(g.sample_posterior(random.key(1), params)) for g in (guide, again)),
            strict=True,
        ):
            assert (one == other).all()


def test_local_sites_have_params_for_the_whole_plate():
    guide = autoguide.AutoNormal(local_latents)
    params = _init(local_latents, guide, np.ones(12))
    assert params["t_auto_loc"].shape == (12,)
    assert guide.sample_posterior(random.key(0), params, sample_shape=(3,))["t"].shape == (3, 12)
    with pytest.raises(InputError, match="site 't' in the subsampled plate 'rows'"):
        autoguide.AutoDiagonalNormal(local_latents).setup(np.ones(12))


def test_annealing_refuses_minibatches_as_numpyro_does():
    def model():
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", 10, subsample_size=4):
            numpyro.sample("y", dist.Normal(mean, 1.0), obs=jnp.ones(4))

    with pytest.raises(NotImplementedError, match="data subsampling") as caught:
        autoguide.AutoDAIS(model).setup()
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize("method", ["get_posterior", "get_transform"])
def test_annealing_has_no_density_as_in_numpyro(method):
    guide = autoguide.AutoDAIS(hierarchy)
    params = _init(hierarchy, guide, y=PAIR)
    with pytest.raises(NotImplementedError, match="draw from it with sample_posterior"):
        getattr(guide, method)(params)


def test_a_list_of_guides_covers_each_site_once():
    guide = autoguide.AutoGuideList(hierarchy)
    guide.append(autoguide.AutoDiagonalNormal(handlers.block(hierarchy, hide=["mu"])))
    with pytest.raises(InputError, match="site 'mu' is in no part"):
        _init(hierarchy, guide, y=PAIR)
    guide.append(autoguide.AutoDelta(handlers.block(hierarchy, expose=["mu"])))
    params = _init(hierarchy, guide, y=PAIR)
    draws = guide.sample_posterior(random.key(0), params, sample_shape=(5,))
    assert {n: v.shape for n, v in draws.items()} == {"mu": (5,), "tau": (5,), "theta": (5, 2)}
    assert draws["mu"].std() == 0.0
    assert guide.median(params).keys() == draws.keys()
    with pytest.raises(InputError, match="cannot be part of a list"):
        guide.append(autoguide.AutoDAIS(hierarchy))
    with pytest.raises(InputError, match="another prefix"):
        guide.append(autoguide.AutoMultivariateNormal(hierarchy))


def test_a_list_that_was_fitted_in_compiled_steps_remembers_the_data():
    guide = autoguide.AutoGuideList(hierarchy)
    guide.append(autoguide.AutoNormal(handlers.block(hierarchy, hide=["mu"])))
    guide.append(autoguide.AutoDelta(handlers.block(hierarchy, expose=["mu"])))
    svi = taut.infer.SVI(hierarchy, guide, optim.Adam(0.01), Trace_ELBO())
    params = svi.get_params(svi.init(random.key(0), y=PAIR))
    assert guide.median(params)["theta"].shape == (2,)
    assert guide[0].sample_posterior(random.key(1), params)["theta"].shape == (2,)


def test_sites_that_no_guide_reaches_are_all_named():
    def model():
        numpyro.sample("k", dist.Bernoulli(0.5))
        numpyro.sample("direction", dist.ProjectedNormal(jnp.ones(2)))

    with pytest.raises(InputError, match=r"(?s)discrete sample site 'k'.*spherical sample site"):
        autoguide.AutoNormal(model).setup()


def test_a_plate_that_changes_between_sites_is_named():
    def model():
        with numpyro.plate("rows", 10):
            numpyro.sample("x", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", 5):
            numpyro.sample("y", dist.Normal(0.0, 1.0))

    with pytest.raises(InputError, match=r"'rows' has inconsistent dim or size: .* 5 at site 'y'"):
        autoguide.AutoDelta(model).setup()


def test_a_circle_is_warned_of():
    with pytest.warns(UserWarning, match="support of angle is a circle"):
        autoguide.AutoNormal(lambda: numpyro.sample("angle", dist.VonMises(0.0, 1.0))).setup()


def test_wrong_params_are_named():
    guide = autoguide.AutoDiagonalNormal(hierarchy)
    params = _init(hierarchy, guide, y=PAIR)
    with pytest.raises(InputError, match=r"no 'auto_scale' \(did you mean 'auto_scal'"):
        guide.get_posterior({"auto_loc": params["auto_loc"], "auto_scal": 1.0})
    guide.setup(y=EIGHT)
    with pytest.raises(InputError, match="the model has 10; pass the arguments"):
        guide.median(params)
    # The arguments given count: the latest ones are only the default.
    assert guide.median(params, y=PAIR)["theta"].shape == (2,)
    # Without observations there is one more latent site, a prediction, which is left out.
    assert guide.median(params, y=None).keys() == {"mu", "tau", "theta"}


def test_a_flat_direction_of_a_laplace_approximation_is_told():
    def model():
        a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), ()))
        b = numpyro.sample("b", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.factor("sum", -0.5 * (a + b) ** 2)

    guide = autoguide.AutoLaplaceApproximation(model)
    guide.setup()
    with pytest.warns(UserWarning, match="Hessian of log posterior .* 1 of 2 directions"):
        covariance = guide.covariance({"auto_loc": jnp.zeros(2)})
    # a + b has variance 1, a - b none.
    assert abs(covariance - 0.25).max() < 1e-6
