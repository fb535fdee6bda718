"""What a mean-field guide leaves out, by linear response: sds with the correlations put back."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from taut._core.errors import first_few
from taut.diagnostics.finding import Finding
from taut.guides.guide import Guide
from taut.guides.mean_field import MeanFieldNormal
from taut.guides.noise import matched_noise
from taut.objectives.linear_response import (
    CURVATURE_DRAWS,
    REFERENCE,
    curvature,
    curvature_cost,
)
from taut.objectives.matched_elbo import Batch

# An sd that grows by more than this factor is one that the guide is too narrow in.
NARROW = 1.2


def response_ratios(
    batch: Batch, guide: Guide, rounding: float, most: float, rng: np.random.Generator
) -> Float[np.ndarray, " dim"] | None:
    """Return the sds by linear response over the guide's own; None for what has no such sds.

    That is every guide but the mean-field Gaussian, and one whose curvature would cost too much.
    All are NaN where the curvature is not positive definite.

    Args:
        batch: batched log density and gradient.
        guide: the fitted guide.
        rounding: error in nats of one log density.
        most: gradients it may take.
        rng: source of the draws.
    """
    if not isinstance(guide, MeanFieldNormal) or curvature_cost(guide.dim) > most:
        return None
    noise = matched_noise(CURVATURE_DRAWS, guide.dim, rng)
    found = curvature(batch, guide, noise, rounding)
    covariance = None if found is None else found.linear_response()
    if covariance is None:
        return np.full(guide.dim, np.nan)
    return np.sqrt(np.diagonal(covariance)) / guide.scale


def response_finding(
    ratios: Float[np.ndarray, " dim"], coordinates: Sequence[str], corrected: bool
) -> Finding:
    """Say which sds of a mean-field guide are too small.

    Args:
        ratios: what `response_ratios` found.
        coordinates: names of the latent coordinates.
        corrected: whether the draws returned are others than the guide's own.
    """
    if np.isnan(ratios).any():
        text = "Linear response has no answer: the curvature at the guide is not positive definite."
        return Finding("linear response", np.nan, NARROW, "note", text, "", REFERENCE)
    order = np.argsort(-ratios, kind="stable")
    worst, largest = coordinates[order[0]], float(ratios[order[0]])
    narrow = int((ratios > NARROW).sum())
    if not narrow:
        text = f"Correlations change no sd by much: that of {worst} by a factor {largest:.2f}."
        return Finding("linear response", largest, NARROW, "good", text, "", REFERENCE)
    text = (
        f"The guide is too narrow, as one without correlations is: by linear response the sd of "
        f"{worst} is {largest:.2f} times the guide's, and {narrow} of {len(ratios)} are more than "
        f"{NARROW:.1f} times ({first_few([coordinates[i] for i in order[:narrow]])})."
    )
    text += " The returned draws are corrected." if corrected else ""
    advice = 'use guide="auto", which has correlations'
    return Finding("linear response", largest, NARROW, "doubt", text, advice, REFERENCE)
