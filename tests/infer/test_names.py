"""A program finds in `taut.infer` what it took from `numpyro.infer`, or is told what to do."""

import importlib

import jax
import numpyro
import numpyro.distributions as dist
import numpyro.infer
import numpyro.infer.autoguide
import pytest
from jax import random
from numpyro import optim
from numpyro.distributions import constraints

import taut.infer
from taut.infer import SVI, Trace_ELBO

# What NumPyro has and Taut has not, on purpose.
ABSENT = {"TraceEnum_ELBO", "AutoSurrogateLikelihoodDAIS"}


@pytest.mark.parametrize("module", ["infer", "infer.autoguide", "infer.util"])
def test_what_is_called_as_numpyros_is_there(module):
    theirs = importlib.import_module(f"numpyro.{module}")
    ours = importlib.import_module(f"taut.{module}")
    assert set(theirs.__all__) - ABSENT <= set(ours.__all__)
    assert all(hasattr(ours, name) for name in ours.__all__)


def test_modules_are_imported_from_as_numpyros():
    from taut.infer.initialization import init_to_value
    from taut.infer.optim import Adam
    from taut.infer.reparam import LocScaleReparam

    from taut.infer.util import log_density

    assert log_density is numpyro.infer.util.log_density
    assert LocScaleReparam is numpyro.infer.reparam.LocScaleReparam
    assert (init_to_value, Adam) == (numpyro.infer.init_to_value, optim.Adam)


@pytest.mark.parametrize(
    "module",
    [
        "calibration",
        "hmc",
        "hmc_util",
        "importance",
        "initialization",
        "inspect",
        "mcmc",
        "reparam",
    ],
)
def test_modules_of_numpyros_have_their_names(module):
    ours = importlib.import_module(f"taut.infer.{module}")
    assert ours is importlib.import_module(f"numpyro.infer.{module}")


def test_objectives_are_in_a_module_of_numpyros_name():
    elbo = importlib.import_module("taut.infer.elbo")
    for name in ("ELBO", "Trace_ELBO", "TraceMeanField_ELBO", "TraceGraph_ELBO", "RenyiELBO"):
        assert getattr(elbo, name) is getattr(taut.infer, name)
        assert hasattr(importlib.import_module("numpyro.infer.elbo"), name)


class Counted(taut.infer.ELBO):
    """An objective of a user's own, as NumPyro lets one write it."""

    def loss(self, rng_key, param_map, model, guide, *args, **kwargs):
        return 2.0 * Trace_ELBO().loss(rng_key, param_map, model, guide, *args, **kwargs)


def test_an_objective_of_ones_own_states_a_loss_and_no_more():
    own = SVI(_model, _guide, optim.Adam(0.1), Counted()).run(random.key(0), 1, progress_bar=False)
    built_in = SVI(_model, _guide, optim.Adam(0.1), Trace_ELBO())
    one = built_in.run(random.key(0), 1, progress_bar=False)
    assert float(own.losses[0]) == 2.0 * float(one.losses[0])
    for loss in (Counted(), taut.infer.RenyiELBO(num_particles=2)):
        with pytest.raises(NotImplementedError, match="does not support mutable sites"):
            loss.loss_with_mutable_state(random.key(0), {}, _model, _guide)


@pytest.mark.parametrize(
    ("module", "name", "advice"),
    [
        ("taut.infer", "TraceEnum_ELBO", "Sum them out by hand"),
        ("taut.infer.autoguide", "AutoSurrogateLikelihoodDAIS", "use AutoSemiDAIS"),
    ],
)
def test_what_is_not_there_says_what_to_do(module, name, advice):
    with pytest.raises(ImportError, match=advice):
        exec(f"from {module} import {name}")
    assert not hasattr(importlib.import_module(module), "Trace_Enum_ELBO")


def _model():
    numpyro.sample("x", dist.Normal(numpyro.param("loc", 1.0), 1.0))


def _guide():
    scale = numpyro.param("scale", 2.0, constraint=constraints.positive)
    numpyro.sample("x", dist.Normal(0.0, scale))


def test_unconstrained_params_are_constrained_by_hand():
    svi = SVI(_model, _guide, optim.Adam(0.1), Trace_ELBO())
    with pytest.raises(taut.InputError, match="init, run or update"):
        svi.constrain_fn({"scale": 0.0})
    state = svi.init(random.key(0))
    params = svi.constrain_fn(svi.optim.get_params(state.optim_state))
    expected = svi.get_params(state)
    assert params.keys() == expected.keys()
    assert all(jax.numpy.allclose(params[n], expected[n]) for n in params)
