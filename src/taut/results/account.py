"""What a fit says of itself: all that can be read off its record."""

import abc
from collections.abc import Mapping

from taut.diagnostics.finding import Finding
from taut.guides.guide import Guide
from taut.loop.trace import Trace
from taut.loop.verdict import Verdict
from taut.results.record import Record


class Account(abc.ABC):
    """The outcome of a fit, and whether to believe it."""

    @property
    @abc.abstractmethod
    def _record(self) -> Record:
        """The outcome as plain data."""

    @property
    def trust(self) -> str:
        """The word: "trusted", "usable" (after correction) or "not trusted"."""
        return self._record.trust

    @property
    def draws_from(self) -> str:
        """Where the returned draws come from: "chains", "weights" or "guide"; see `Pool.source`."""
        return self._record.pool.source

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was checked, the deciding findings first."""
        return self._record.findings

    @property
    def verdict(self) -> Verdict:
        """Why the optimiser stopped."""
        return self._record.verdict

    @property
    def notes(self) -> tuple[str, ...]:
        """How the model was read, where that is not obvious."""
        return self._record.notes

    @property
    def guide(self) -> Guide:
        """The fitted guide, a distribution on the latent space."""
        return self._record.guide

    @property
    def guide_name(self) -> str:
        """The guide's family, such as "full-rank"."""
        return self._record.guide.name

    @property
    def dim(self) -> int:
        """Number of latent coordinates."""
        return self._record.guide.dim

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the latent sites, in the model's order."""
        return tuple(site.name for site in self._record.sites)

    @property
    def deterministics(self) -> tuple[str, ...]:
        """Names of the deterministic values."""
        return self._record.deterministics

    @property
    def trace(self) -> Trace:
        """The record of the optimisation."""
        return self._record.trace

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall time by phase, and in total."""
        return self._record.seconds

    @property
    def gradients(self) -> int:
        """Gradient evaluations, checks included."""
        return self._record.gradients

    @property
    def seed(self) -> int:
        """The seed of the fit."""
        return self._record.seed

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that the fit was made with."""
        return self._record.versions

    @property
    def elbo(self) -> tuple[float, float]:
        """The evidence lower bound in nats from fresh draws, and its standard error."""
        weights = self._record.weights
        return weights.elbo if weights else (float("nan"), float("nan"))

    @property
    def log_evidence(self) -> tuple[float, float]:
        """The importance estimate of the log evidence in nats, and its standard error."""
        weights = self._record.weights
        return weights.log_evidence if weights else (float("nan"), float("nan"))

    @property
    def k_hat(self) -> float:
        """Pareto k-hat of the importance weights; below 0.7 they can be relied on."""
        weights = self._record.weights
        return weights.k_hat if weights else float("nan")
