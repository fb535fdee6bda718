"""The objectives in one module, as NumPyro has them."""

from taut.infer.graph_elbo import TraceGraph_ELBO
from taut.infer.mean_field_elbo import TraceMeanField_ELBO
from taut.infer.objective import ELBO
from taut.infer.renyi_elbo import RenyiELBO
from taut.infer.trace_elbo import Trace_ELBO

__all__ = ["ELBO", "RenyiELBO", "TraceGraph_ELBO", "TraceMeanField_ELBO", "Trace_ELBO"]
