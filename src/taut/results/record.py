"""Everything about a fit that is worth keeping: what is saved is what can be loaded."""

import dataclasses
from typing import Any

from taut.diagnostics.finding import Finding
from taut.diagnostics.psis import Weights
from taut.loop.trace import Trace
from taut.loop.verdict import Verdict
from taut.posterior.draws import Draws
from taut.posterior.pool import Pool
from taut.targets.program import Site


@dataclasses.dataclass(frozen=True)
class Record:
    """The outcome of a fit as plain data.

    Attributes:
        guide: the fitted guide.
        sites: the latents, in the model's order.
        deterministics: names of deterministic values.
        pool: the stored posterior draws.
        weighed: the guide's own draws that the weights belong to; None if not computed.
        weights: their importance weights; None if not computed.
        trust: "trusted", "usable" or "not trusted".
        findings: all checks, the deciding ones first.
        verdict: why the optimiser stopped.
        notes: what the user should know about how the model was read.
        trace: the record of the optimisation.
        seconds: where the time went.
        gradients: gradient evaluations, checks included.
        seed: the seed.
        dtype: floating type the model was computed in.
        versions: versions of the libraries in use.
        observed: data of the observed sites, by site.
        k_hats: k-hat of each scalar's mean, as far as it was asked for.
    """

    guide: Any
    sites: tuple[Site, ...]
    deterministics: tuple[str, ...]
    pool: Pool
    weighed: Draws | None
    weights: Weights | None
    trust: str
    findings: tuple[Finding, ...]
    verdict: Verdict
    notes: tuple[str, ...]
    trace: Trace
    seconds: dict[str, float]
    gradients: int
    seed: int
    dtype: str
    versions: dict[str, str]
    observed: dict[str, Any]
    k_hats: dict[str, float] | None = None

    def with_k_hats(self, k_hats: dict[str, float] | None) -> "Record":
        """Return the same record with k-hats: to make them takes the model, which no file holds."""
        return dataclasses.replace(self, k_hats=k_hats)
