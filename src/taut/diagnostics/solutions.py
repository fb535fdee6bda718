"""What the search for starts says of separate solutions."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from taut.diagnostics.finding import MEAN_ERROR, SD_RATIO, Finding
from taut.guides.guide import Guide


@dataclasses.dataclass(frozen=True)
class Solutions:
    """What the start search found.

    Attributes:
        starts: how many starts were tried.
        guides: the distinct solutions, best first.
        elbos: their ELBO estimates, or the logarithms of their shares in the guide.
        held: whether the guide holds them all.
        once: how many of the solutions were reached from one start only.
        joined: whether the guide is one piece that reaches around them all.
    """

    starts: int
    guides: Sequence[Guide]
    elbos: Float[np.ndarray, " solutions"]
    held: bool = False
    once: int = 0
    joined: bool = False


def solutions_finding(solutions: Solutions, coordinates: Sequence[str]) -> Finding:
    """Say whether the guide holds all solutions, and how much is missing if not."""
    found = len(solutions.elbos)
    if solutions.starts == 1:
        text = "The guide was fitted from one start, the first values of its parameters."
        return Finding("solutions", 1.0, np.nan, "note", text)
    if found == 1:
        text = f"All of the {solutions.starts} starts that count led to one solution."
        return Finding("solutions", 1.0, np.nan, "good", text)
    if solutions.joined:
        text = (
            f"The {found} solutions found are ends of one, and the guide reaches around them all."
        )
        return Finding("solutions", float(found), np.nan, "good", text)
    share = np.exp(solutions.elbos - solutions.elbos.max())
    share = share / share.sum()
    means = np.array([guide.mean() for guide in solutions.guides])
    sds = np.array([guide.sd() for guide in solutions.guides])
    mean = share @ means
    variance = share @ (sds**2 + (means - mean) ** 2)
    shift = np.abs(mean - means[0]) / sds[0]
    ratio = np.sqrt(variance) / sds[0]
    shares = ", ".join(f"{s:.2g}" for s in share)
    if solutions.held:
        text = f"{found} separate solutions, all held by the guide, with shares {shares}."
        if solutions.once == 0:
            return Finding("solutions", float(found), np.nan, "good", text)
        # Solutions seen once are as likely as those not seen at all (Good 1953, Biometrika 40).
        text += (
            f" Only one of {solutions.starts} starts led to each of {solutions.once} found: more "
            "are likely to exist."
        )
        advice = "search longer with modes=True, or break the symmetry with an ordering or a prior"
        return Finding("solutions", float(found), np.nan, "bad", text, advice)
    unseen = shift.max() < MEAN_ERROR and ratio.max() < SD_RATIO
    text = (
        f"{found} separate solutions, with shares of the mass of about {shares}; the guide was "
        "fitted around the first only."
    )
    if unseen:
        return Finding("solutions", float(found), 1.0, "note", text)
    worst = coordinates[int(np.argmax(np.maximum(ratio, shift)))]
    text += f" They differ most in {worst}."
    advice = "break the symmetry with an ordering or a prior, or fit each solution by itself"
    return Finding("solutions", float(found), 1.0, "bad", text, advice)


def unseen_finding(solutions: Solutions) -> Finding:
    """Say what no check can see."""
    found = len(solutions.elbos)
    starts = "1 start" if solutions.starts == 1 else f"{solutions.starts} starts"
    text = (
        f"Checked from {starts}; solutions found: {found}. No check here can rule "
        "out a mode that none of the starts reached."
    )
    return Finding("unseen modes", float(solutions.starts), np.nan, "note", text)
