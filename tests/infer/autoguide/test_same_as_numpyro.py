"""Params, starting points and ELBO of each guide beside those of NumPyro's guide of its name."""

import functools

import jax
import numpy as np
import pytest
from autoguide_models import (
    GROUP_MEANS,
    X,
    Y,
    hierarchy,
    local_latents,
    mixed_supports,
    vector_members,
)
from jax import random
from numpyro import handlers, optim
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer import autoguide as theirs
from numpyro.infer.initialization import init_to_feasible, init_to_median

from taut.infer import autoguide as ours

MIXED = (mixed_supports, (X,), {"y": Y})
HIERARCHY = (hierarchy, (), {"y": GROUP_MEANS})
LOCAL = (local_latents, (np.linspace(0.5, 2.0, 12),), {})
MEMBERS = (vector_members, (np.array([0.3, -0.2, 1.0]),), {})

CASES = {
    "AutoNormal": (MIXED, {}),
    "AutoNormal-local": (LOCAL, {}),
    "AutoDelta": (MIXED, {}),
    "AutoDelta-local": (LOCAL, {}),
    "AutoDiagonalNormal": (MIXED, {"init_scale": 0.3}),
    "AutoMultivariateNormal": (MIXED, {}),
    "AutoLowRankMultivariateNormal": (MIXED, {"rank": 3}),
    "AutoLowRankMultivariateNormal-rank": (HIERARCHY, {}),
    "AutoLaplaceApproximation": (HIERARCHY, {}),
    "AutoBatchedMultivariateNormal": (MEMBERS, {}),
    "AutoBatchedLowRankMultivariateNormal": (MEMBERS, {"rank": 1}),
}


@functools.cache
def _params(library, case, **options):
    (model, args, kwargs), more = CASES[case]
    guide = getattr(library, case.split("-")[0])(model, **more, **options)
    svi = SVI(model, guide, optim.Adam(0.01), Trace_ELBO())
    state = svi.init(random.key(0), *args, **kwargs)
    return guide, svi.get_params(state)


@pytest.mark.parametrize("case", CASES)
def test_params_have_the_same_names_shapes_and_start(case, same_to_rounding):
    (_, mine), (_, reference) = _params(ours, case), _params(theirs, case)
    assert mine.keys() == reference.keys()
    for name, value in reference.items():
        if case.endswith("local") and not name.endswith("scale"):
            # The subsample is drawn before the starting point, which NumPyro draws first.
            assert mine[name].shape == value.shape
        else:
            same_to_rounding(mine[name], value, np.float32)


@pytest.mark.parametrize("strategy", [init_to_feasible, init_to_median])
def test_other_strategies_start_at_the_same_point(strategy, same_to_rounding):
    case = "AutoDiagonalNormal"
    options = {"init_loc_fn": strategy}
    (_, mine), (_, reference) = (
        _params(ours, case, **options),
        _params(theirs, case, **options),
    )
    same_to_rounding(mine["auto_loc"], reference["auto_loc"], np.float32)


@pytest.mark.parametrize("case", CASES)
def test_the_elbo_is_the_same_at_the_same_params_and_key(case, same_to_rounding):
    (model, args, kwargs), _ = CASES[case]
    (mine, params), (reference, _) = _params(ours, case), _params(theirs, case)
    # Away from the starting values, where scales are alike and factors zero.
    moved = {
        name: value * (1.0 + 0.1 * np.arange(value.size).reshape(value.shape) / value.size)
        if "cov_factor" not in name
        else 0.3 * np.cos(np.arange(value.size)).reshape(value.shape)
        for name, value in params.items()
    }
    if "w_auto_loc" in moved and case == "AutoDelta":
        moved["w_auto_loc"] = moved["w_auto_loc"] / moved["w_auto_loc"].sum()
    elbo, key = Trace_ELBO(num_particles=20), random.key(1)
    values = [
        jax.jit(lambda key, guide=guide: elbo.loss(key, moved, model, guide, *args, **kwargs))(key)
        for guide in (mine, reference)
    ]
    same_to_rounding(values[0], values[1], np.float32, condition=10.0)


def test_sites_of_one_draw_are_those_of_numpyro(same_to_rounding):
    _, args, kwargs = MIXED
    (mine, params), (reference, _) = (
        _params(lib, "AutoMultivariateNormal") for lib in (ours, theirs)
    )
    traces = [
        handlers.trace(handlers.substitute(handlers.seed(g, 0), params)).get_trace(*args, **kwargs)
        for g in (mine, reference)
    ]
    assert traces[0].keys() == traces[1].keys()
    for name, site in traces[1].items():
        same_to_rounding(traces[0][name]["value"], site["value"], np.float32)
    latent = traces[0]["_auto_latent"]
    assert latent["infer"]["is_auxiliary"]


@pytest.mark.parametrize(
    "case",
    [
        "AutoNormal",
        "AutoDiagonalNormal",
        "AutoMultivariateNormal",
        "AutoLowRankMultivariateNormal-rank",
    ],
)
def test_medians_and_quantiles_are_those_of_numpyro(case, same_to_rounding):
    (mine, params), (reference, _) = _params(ours, case), _params(theirs, case)
    median, expected = mine.median(params), reference.median(params)
    levels = np.array([[0.1, 0.9]])
    quantiles, expected_quantiles = (g.quantiles(params, levels[0]) for g in (mine, reference))
    for name in expected_quantiles:
        same_to_rounding(median[name], expected[name], np.float32)
        same_to_rounding(quantiles[name], expected_quantiles[name], np.float32)
        assert mine.quantiles(params, levels)[name].shape == (1, 2, *np.shape(median[name]))


def test_the_laplace_approximation_is_that_of_numpyro(same_to_rounding):
    case = "AutoLaplaceApproximation"
    (mine, params), (reference, _) = _params(ours, case), _params(theirs, case)
    # Near the maximum: each group's mean, their mean, and a moderate spread.
    params = {"auto_loc": np.array([0.86, 0.0, *GROUP_MEANS], np.float32)}
    same_to_rounding(
        mine.get_posterior(params).scale_tril,
        reference.get_posterior(params).scale_tril,
        np.float32,
        condition=10.0,
    )
