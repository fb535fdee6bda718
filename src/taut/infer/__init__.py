"""NumPyro's explicit interface on Taut's engine: a program changes its import line, nothing else.

`MCMC` with its kernels, `optim`, `reparam`, `initialization`, `log_likelihood` and the like are
NumPyro's own.
"""

import sys

from numpyro import optim
from numpyro.infer import (
    AIES,
    ESS,
    HMC,
    HMCECS,
    MCMC,
    NUTS,
    SA,
    BarkerMH,
    CustomGibbs,
    DiscreteGibbs,
    DiscreteHMCGibbs,
    Gibbs,
    HMCGibbs,
    MixedHMC,
    calibration,
    hmc,
    hmc_util,
    importance,
    init_to_feasible,
    init_to_mean,
    init_to_median,
    init_to_sample,
    init_to_uniform,
    init_to_value,
    initialization,
    initialize_model,
    inspect,
    log_likelihood,
    mcmc,
    psis_diagnostic,
    reparam,
)

from taut._core.absent import absent
from taut.infer import autoguide
from taut.infer.graph_elbo import TraceGraph_ELBO
from taut.infer.mean_field_elbo import TraceMeanField_ELBO
from taut.infer.objective import ELBO
from taut.infer.predictive import Predictive
from taut.infer.rendering.render_model import render_model
from taut.infer.renyi_elbo import RenyiELBO
from taut.infer.svi import SVI, SVIRunResult
from taut.infer.svi_problem import SVIState
from taut.infer.trace_elbo import Trace_ELBO

__all__ = [
    "AIES",
    "ELBO",
    "ESS",
    "HMC",
    "HMCECS",
    "MCMC",
    "NUTS",
    "SA",
    "SVI",
    "BarkerMH",
    "CustomGibbs",
    "DiscreteGibbs",
    "DiscreteHMCGibbs",
    "Gibbs",
    "HMCGibbs",
    "MixedHMC",
    "Predictive",
    "RenyiELBO",
    "SVIRunResult",
    "SVIState",
    "TraceGraph_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "autoguide",
    "calibration",
    "init_to_feasible",
    "init_to_mean",
    "init_to_median",
    "init_to_sample",
    "init_to_uniform",
    "init_to_value",
    "initialization",
    "initialize_model",
    "log_likelihood",
    "optim",
    "psis_diagnostic",
    "render_model",
    "reparam",
]

# So that `from taut.infer.reparam import ...` is NumPyro's line with another beginning.
sys.modules[f"{__name__}.optim"] = optim
for _module in (calibration, hmc, hmc_util, importance, initialization, inspect, mcmc, reparam):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module

NO_ENUMERATION = (
    "TraceEnum_ELBO is not part of taut.infer: nothing here sums over discrete sites by itself. "
    "Sum them out by hand (dist.MixtureSameFamily, or logsumexp with numpyro.factor), or draw them "
    "in the guide with Trace_ELBO, whose gradients are right for that"
)


__getattr__ = absent(__name__, {"TraceEnum_ELBO": NO_ENUMERATION})
