"""NumPyro's explicit interface on Taut's engine: a program changes its import line, nothing else.

`MCMC`, `NUTS` and `optim` are NumPyro's own.
"""

from numpyro import optim
from numpyro.infer import MCMC, NUTS

from taut.infer import autoguide
from taut.infer.graph_elbo import TraceGraph_ELBO
from taut.infer.mean_field_elbo import TraceMeanField_ELBO
from taut.infer.predictive import Predictive
from taut.infer.rendering.render_model import render_model
from taut.infer.renyi_elbo import RenyiELBO
from taut.infer.svi import SVI, SVIRunResult
from taut.infer.svi_problem import SVIState
from taut.infer.trace_elbo import Trace_ELBO

__all__ = [
    "MCMC",
    "NUTS",
    "SVI",
    "Predictive",
    "RenyiELBO",
    "SVIRunResult",
    "SVIState",
    "TraceGraph_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "autoguide",
    "optim",
    "render_model",
]
