"""Params, starting points and ELBO of each guide beside those of NumPyro's guide of its name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from autoguide_models import (
    PAIR,
    X,
    Y,
    global_model,
    hierarchy,
    local_latents,
    local_model,
    mixed_supports,
    vector_members,
    whole_model,
)
from jax import random
from numpyro import handlers, optim
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer import autoguide as theirs
from numpyro.infer.initialization import init_to_feasible, init_to_median, init_to_value

from taut._core.run_once import run_once
from taut.infer import autoguide as ours

SMALL = (hierarchy, (), {"y": PAIR})
MIXED = (mixed_supports, (X,), {"y": Y})
LOCAL = (local_latents, (np.linspace(0.5, 2.0, 12),), {})
MEMBERS = (vector_members, (np.array([0.3, -0.2, 1.0]),), {})
SEMI = (whole_model, (), {})

CASES = {
    "AutoNormal": (SMALL, {}),
    "AutoNormal-local": (LOCAL, {}),
    "AutoDelta": (SMALL, {}),
    "AutoDiagonalNormal": (MIXED, {"init_scale": 0.3}),
    "AutoMultivariateNormal": (SMALL, {}),
    "AutoLowRankMultivariateNormal": (SMALL, {"rank": 3}),
    "AutoLaplaceApproximation": (SMALL, {}),
    "AutoBatchedMultivariateNormal": (MEMBERS, {}),
    "AutoBatchedLowRankMultivariateNormal": (MEMBERS, {"rank": 1}),
    "AutoIAFNormal": (SMALL, {"skip_connections": True, "hidden_dims": [5], "num_flows": 2}),
    "AutoBNAFNormal": (SMALL, {"num_flows": 2, "hidden_factors": [3, 2]}),
    "AutoDAIS": (SMALL, {"K": 2, "base_dist": "cholesky"}),
    "AutoSemiDAIS": (SEMI, {"K": 2}),
}

# NumPyro makes its guides eagerly, which takes most of the time here.
QUICK = ("AutoNormal", "AutoDelta", "AutoMultivariateNormal", "AutoLaplaceApproximation")


def _cases(names):
    return [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in names]


# Drawn at random from keys that are split in another order than NumPyro's.
RANDOM_START = ("AutoIAFNormal", "AutoBNAFNormal")


def _guide(library, case, **options):
    (model, _, _), more = CASES[case]
    kind, options = getattr(library, case.split("-")[0]), {**more, **options}
    if kind in (ours.AutoSemiDAIS, theirs.AutoSemiDAIS):
        return kind(model, local_model, library.AutoNormal(global_model), **options)
    return kind(model, **options)


@functools.cache
def _params(library, case, **options):
    (model, args, kwargs), _ = CASES[case]
    guide = _guide(library, case, **options)
    svi = SVI(model, guide, optim.Adam(0.01), Trace_ELBO())
    init = svi.init
    if library is ours:
        # Those of NumPyro keep what they see in their first call, which must not be traced.
        guide.setup(*args, **kwargs)
        init = run_once(svi.init)
    return guide, svi.get_params(init(random.key(0), *args, **kwargs))


@pytest.mark.parametrize("case", _cases(CASES))
def test_params_have_the_same_names_shapes_and_start(case, same_to_rounding):
    (_, mine), (_, reference) = _params(ours, case), _params(theirs, case)
    assert jax.tree.map(jnp.shape, mine) == jax.tree.map(jnp.shape, reference)
    if case.split("-")[0] in RANDOM_START:
        return
    for name, value in reference.items():
        # NumPyro draws the starting point before the subsample, we after it.
        subsampled = case in ("AutoNormal-local", "AutoSemiDAIS")
        if not subsampled or not name.endswith("auto_loc"):
            same_to_rounding(mine[name], value, np.float32)


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(init_to_feasible, id="feasible", marks=pytest.mark.slow),
        pytest.param(init_to_median, id="median"),
        pytest.param(
            functools.partial(init_to_value, values={"tau": 0.5}),
            id="value",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_other_strategies_start_at_the_same_point(strategy, same_to_rounding):
    (_, mine), (_, reference) = (
        _params(library, "AutoDiagonalNormal", init_loc_fn=strategy) for library in (ours, theirs)
    )
    same_to_rounding(mine["auto_loc"], reference["auto_loc"], np.float32)


@pytest.mark.parametrize("inside", [False, True], ids=["eagerly", "in a compiled function"])
def test_params_of_the_model_that_are_drawn_leave_the_start_where_it_is(inside, same_to_rounding):
    def drawn():
        numpyro.sample("a", dist.Normal(0.0, 1.0))
        scale = numpyro.param("scale", lambda key: jnp.exp(random.normal(key, (2,))))
        numpyro.sample("b", dist.HalfNormal(scale).to_event(1))

    found = []
    for library in (ours, theirs):
        guide = library.AutoNormal(drawn, init_loc_fn=init_to_median)
        svi = SVI(drawn, guide, optim.Adam(0.01), Trace_ELBO())
        init = jax.jit(svi.init) if inside else svi.init
        found.append(svi.get_params(init(random.key(0))))
    mine, reference = found
    assert mine.keys() == reference.keys()
    for name, value in reference.items():
        same_to_rounding(mine[name], value, np.float32)


@pytest.mark.parametrize("case", _cases(CASES))
def test_the_elbo_is_the_same_at_the_same_params_and_key(case, same_to_rounding):
    (model, args, kwargs), _ = CASES[case]
    (mine, _), (reference, params) = _params(ours, case), _params(theirs, case)
    # Away from the starting values, where scales are alike and factors zero.
    bend = 0.1 * np.cos(np.arange(200))
    moved = {
        name: jax.tree.map(lambda v: v * (1.0 + bend[: v.size].reshape(v.shape)), value)
        for name, value in params.items()
    }
    if "auto_cov_factor" in moved:
        factor = moved["auto_cov_factor"]
        moved["auto_cov_factor"] = factor + 3.0 * bend[: factor.size].reshape(factor.shape)
    elbo = Trace_ELBO(num_particles=3)
    values = [
        run_once(lambda key, guide=guide: elbo.loss(key, moved, model, guide, *args, **kwargs))(
            random.key(1)
        )
        for guide in (mine, reference)
    ]
    same_to_rounding(values[0], values[1], np.float32, condition=10.0)


def test_subsampled_sites_and_lists_start_at_the_same_point(same_to_rounding):
    def rows(chosen):
        with numpyro.plate("rows", 6, subsample_size=len(chosen)):
            numpyro.sample("t", dist.Normal(0.0, 1.0))

    def plates(chosen):
        with handlers.substitute(data={"rows": jnp.asarray(chosen)}):
            return numpyro.plate("rows", 6, subsample_size=len(chosen))

    found = []
    for library in (ours, theirs):
        both = library.AutoGuideList(hierarchy)
        both.append(library.AutoNormal(handlers.block(hierarchy, hide=["mu"])))
        both.append(library.AutoDelta(handlers.block(hierarchy, expose=["mu"])))
        local = library.AutoNormal(rows, create_plates=plates)
        found.append({})
        for model, guide, args in ((hierarchy, both, (PAIR,)), (rows, local, (np.arange(3),))):
            svi = SVI(model, guide, optim.Adam(0.01), Trace_ELBO())
            found[-1].update(svi.get_params(svi.init(random.key(0), *args)))
    assert found[0].keys() == found[1].keys()
    for name, value in found[1].items():
        same_to_rounding(found[0][name], value, np.float32)


@pytest.mark.parametrize("shape", [(), (2, 3)])
@pytest.mark.parametrize(
    "case",
    _cases(
        [
            "AutoNormal",
            "AutoDiagonalNormal",
            "AutoMultivariateNormal",
            "AutoLowRankMultivariateNormal",
            "AutoIAFNormal",
            "AutoDAIS",
        ]
    ),
)
def test_draws_from_a_key_are_those_of_numpyro(case, shape, same_to_rounding):
    (mine, _), (reference, params) = _params(ours, case), _params(theirs, case)
    draws = [
        run_once(functools.partial(guide.sample_posterior, sample_shape=shape))(
            random.key(3), params
        )
        for guide in (mine, reference)
    ]
    assert draws[0].keys() == draws[1].keys()
    for name, value in draws[1].items():
        same_to_rounding(draws[0][name], value, np.float32)


def test_sites_of_one_draw_are_those_of_numpyro(same_to_rounding):
    (mine, params), (reference, _) = (
        _params(library, "AutoMultivariateNormal") for library in (ours, theirs)
    )
    traces = [
        handlers.trace(handlers.substitute(handlers.seed(guide, 0), params)).get_trace(y=PAIR)
        for guide in (mine, reference)
    ]
    assert traces[0].keys() == traces[1].keys()
    for name, site in traces[1].items():
        same_to_rounding(traces[0][name]["value"], site["value"], np.float32)
    assert traces[0]["_auto_latent"]["infer"]["is_auxiliary"]


@pytest.mark.parametrize(
    "case",
    _cases(
        [
            "AutoNormal",
            "AutoDiagonalNormal",
            "AutoMultivariateNormal",
            "AutoLowRankMultivariateNormal",
        ]
    ),
)
def test_medians_and_quantiles_are_those_of_numpyro(case, same_to_rounding):
    (mine, params), (reference, _) = _params(ours, case), _params(theirs, case)
    levels = np.array([0.1, 0.9])
    median, expected = mine.median(params), reference.quantiles(params, levels)
    quantiles = mine.quantiles(params, levels[None])
    for name, value in expected.items():
        same_to_rounding(median[name], reference.median(params)[name], np.float32)
        same_to_rounding(quantiles[name], value[None], np.float32)


def test_quantiles_have_the_shapes_of_numpyros():
    (mine, params), (reference, _) = _params(ours, "AutoNormal"), _params(theirs, "AutoNormal")
    for quantiles in (0.5, [0.1, 0.5, 0.9], (0.1, 0.5)):
        found = [g.quantiles(params, quantiles) for g in (mine, reference)]
        shapes = [jax.tree.map(jnp.shape, values) for values in found]
        assert shapes[0] == shapes[1]


def test_the_median_of_a_point_holds_what_the_model_draws():
    # A deterministic site in it, once substituted, would cut the density off from what made it.
    def model(y):
        mean = numpyro.deterministic("mean", 2.0 * numpyro.sample("a", dist.Normal(0.0, 1.0)))
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    for library in (ours, theirs):
        guide = library.AutoDelta(model)
        svi = SVI(model, guide, optim.Adam(0.1), Trace_ELBO())
        state = svi.init(random.key(0), 1.0)
        assert guide.median(svi.get_params(state)).keys() == {"a"}


def test_the_laplace_approximation_is_that_of_numpyro(same_to_rounding):
    case = "AutoLaplaceApproximation"
    (mine, _), (reference, _) = _params(ours, case), _params(theirs, case)
    # Near the maximum: a moderate spread, each group near its mean.
    params = {"auto_loc": np.array([1.5, 0.0, *PAIR], np.float32)}
    factors = [guide.get_posterior(params).scale_tril for guide in (mine, reference)]
    same_to_rounding(*factors, np.float32, condition=10.0)
