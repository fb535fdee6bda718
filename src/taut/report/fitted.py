"""What a report needs to know of a fit.

The report stage never asks how a fit was made: any object with these attributes can be described,
drawn and exported.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from taut.report.summary import Summary

_GUIDES = {
    "full-rank": "full-rank Gaussian",
    "mean-field": "mean-field Gaussian",
    "low-rank": "low-rank Gaussian",
    "mixture": "mixture of Gaussians",
    "flow": "triangular flow",
    "program": "guide of your own",
}


@runtime_checkable
class FindingLike(Protocol):
    """One diagnostic: its number, its threshold and what they mean."""

    @property
    def name(self) -> str:
        """What was looked at."""
        ...

    @property
    def value(self) -> Any:
        """The number found; None or NaN if there is none."""
        ...

    @property
    def threshold(self) -> Any:
        """The number it is held against; None or NaN if there is none."""
        ...

    @property
    def level(self) -> str:
        """Return "good", "doubt", "bad", or "note": a caveat that holds whatever the numbers."""
        ...

    @property
    def message(self) -> str:
        """What it means, a sentence."""
        ...

    @property
    def advice(self) -> str:
        """What to try, a sentence; empty if there is nothing to do."""
        ...


@runtime_checkable
class VerdictLike(Protocol):
    """Why the loop stopped."""

    @property
    def converged(self) -> bool:
        """Whether it stopped because there was nothing left to gain."""
        ...

    @property
    def reason(self) -> str:
        """The rule that stopped it, in a word or two."""
        ...

    @property
    def message(self) -> str:
        """The same as a sentence."""
        ...

    @property
    def expected_gap(self) -> float:
        """What is still to be gained, in nats; NaN if it was not estimated."""
        ...


@runtime_checkable
class TraceLike(Protocol):
    """The record of the steps; every field has one entry for each step."""

    @property
    def gradients(self) -> np.ndarray:
        """Gradient evaluations since the start."""
        ...

    @property
    def loss(self) -> np.ndarray:
        """The negative ELBO on the draws of the step's stage."""
        ...

    @property
    def stage(self) -> Sequence[str]:
        """The stage that the step belongs to."""
        ...


@runtime_checkable
class Fitted(Protocol):
    """A finished fit, as the report stage sees it."""

    @property
    def guide_name(self) -> str:
        """The guide, such as "full-rank"."""
        ...

    @property
    def dim(self) -> int:
        """The number of latent coordinates."""
        ...

    @property
    def trust(self) -> str:
        """Return "trusted", "usable" or "not trusted"."""
        ...

    @property
    def draws_from(self) -> str:
        """Return "chains", "weights" or "guide": where the draws of `sample` come from."""
        ...

    @property
    def findings(self) -> Sequence[FindingLike]:
        """What the diagnostics found."""
        ...

    @property
    def verdict(self) -> VerdictLike:
        """Why the loop stopped."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What was decided for the user, one sentence each."""
        ...

    @property
    def elbo(self) -> tuple[float, float]:
        """The bound on the log evidence and its standard error."""
        ...

    @property
    def log_evidence(self) -> tuple[float, float]:
        """The importance estimate of the log evidence and its standard error."""
        ...

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by phase, with the key "total"."""
        ...

    @property
    def gradients(self) -> int:
        """Gradient evaluations in all, checks included."""
        ...

    @property
    def trace(self) -> TraceLike:
        """The record of the steps."""
        ...

    @property
    def sites(self) -> Sequence[str]:
        """The latent sites in model order."""
        ...

    @property
    def seed(self) -> int:
        """The seed of the fit."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that were used, by name."""
        ...

    @property
    def k_hat(self) -> float:
        """Pareto k-hat of the importance weights; NaN if unknown."""
        ...

    @property
    def observed(self) -> Mapping[str, np.ndarray]:
        """The data of the observed sites."""
        ...

    def sample(
        self, n: int = ..., seed: int = ..., corrected: bool = ...
    ) -> Mapping[str, np.ndarray]:
        """Return draws of every latent and deterministic site, the draws on the first axis.

        Raises an InputError where uncorrected draws need a model that is not there.
        """
        ...

    def prior(self, draws: int = ..., seed: int = ...) -> Mapping[str, np.ndarray]:
        """Return draws of all sites from the prior; an InputError if there are none to be had."""
        ...

    def predict(self, *, draws: int = ..., seed: int = ...) -> Mapping[str, np.ndarray]:
        """Return replicates of the observed sites; an InputError if there are none to be had."""
        ...

    def summary(self) -> Summary:
        """Return the table of all scalars."""
        ...


def guide_words(fit: Fitted) -> str:
    """Return such as 'full-rank Gaussian on 5 latent values'."""
    values = "value" if fit.dim == 1 else "values"
    return f"{_GUIDES.get(fit.guide_name, fit.guide_name)} on {fit.dim} latent {values}"
