"""What a NUTS run leaves."""

import dataclasses
import html
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from taut.report.summary import Summary, summarise

# Vehtari, Gelman, Simpson, Carpenter and Buerkner 2021, Bayesian Analysis 16.
LARGEST_R_HAT = 1.01


@dataclasses.dataclass(frozen=True, repr=False)
class NutsRun:
    """Draws of NUTS in the model's own coordinates, and whether its chains converged.

    Attributes:
        values: draws by site and deterministic name, all chains one after the other.
        sites: the latent sites in model order.
        z: latent vectors (chains, draws, dim).
        log_p: their log densities (chains, draws).
        ess: effective sample size of each scalar's mean.
        r_hat: split R-hat of each scalar.
        divergences: how many draws ended in a divergent trajectory.
        warmup: warm-up iterations of each chain.
        gradients: gradient evaluations after warm-up.
        seconds: wall time, compiling included.
    """

    values: Mapping[str, np.ndarray]
    sites: tuple[str, ...]
    z: Float[np.ndarray, "chains draws dim"]
    log_p: Float[np.ndarray, "chains draws"]
    ess: Mapping[str, float]
    r_hat: Mapping[str, float]
    divergences: int
    warmup: int
    gradients: int
    seconds: float

    @property
    def converged(self) -> bool:
        """Whether every R-hat is at most 1.01 and no trajectory diverged."""
        ratios = np.array([value for value in self.r_hat.values() if np.isfinite(value)])
        return bool((ratios <= LARGEST_R_HAT).all() and self.divergences == 0)

    def sample(self, n: int = 4000, seed: int = 0) -> dict[str, Any]:
        """Return up to `n` of the draws, chosen at random, by site."""
        count = self.z.shape[0] * self.z.shape[1]
        rows = np.random.default_rng(seed).permutation(count)[:n]
        return {name: value[rows] for name, value in self.values.items()}

    def summary(self) -> Summary:
        """Return mean, sd, quantiles and Monte Carlo error of every scalar."""
        return summarise(self.values, self.sites, effective=self.ess)

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", *self.summary().lines(24)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "<br>".join(map(html.escape, self._head()))
        return f"<p>{head}</p>{self.summary().to_html(24)}"

    def _head(self) -> list[str]:
        chains, draws, _ = self.z.shape
        worst = max((v for v in self.r_hat.values() if np.isfinite(v)), default=float("nan"))
        return [
            f"NUTS: {chains} chains of {draws} draws after {self.warmup} of warm-up, "
            f"{self.seconds:.1f} s",
            f"largest R-hat {worst:.3f}, divergences {self.divergences}",
        ]
