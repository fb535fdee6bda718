"""NumPyro's `infer.util` under another beginning, with Taut's `Predictive`."""

from numpyro.infer.util import (
    compute_log_probs,
    constrain_fn,
    find_valid_initial_params,
    get_potential_fn,
    initialize_model,
    log_density,
    log_likelihood,
    potential_energy,
    transform_fn,
    unconstrain_fn,
)

from taut.infer.predictive import Predictive

__all__ = [
    "Predictive",
    "compute_log_probs",
    "constrain_fn",
    "find_valid_initial_params",
    "get_potential_fn",
    "initialize_model",
    "log_density",
    "log_likelihood",
    "potential_energy",
    "transform_fn",
    "unconstrain_fn",
]
