"""Draws from a guide with both densities, so that anyone can weigh them again."""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Draws:
    """Independent draws of the latent vector from a guide.

    Attributes:
        z: latent vectors (draws, dim).
        log_p: unnormalised log density of the target at each, Jacobian terms included (draws,).
        log_q: normalised log density of the guide at each (draws,).
    """

    z: Float[np.ndarray, "draws dim"]
    log_p: Float[np.ndarray, " draws"]
    log_q: Float[np.ndarray, " draws"]

    @property
    def log_ratios(self) -> Float[np.ndarray, " draws"]:
        """Log p - log q, the unnormalised log importance weights (draws,)."""
        return self.log_p - self.log_q
