"""How much a step beyond a Gaussian may cost, decided by counting and never by the clock."""

# So many times what the fit took, and so many elements computed on top. Above the last limit, about
# a millisecond a gradient, such steps are skipped.
ALLOWED_FITS, ALLOWED_WORK, MOST_WORK = 2.5, 3e8, 1e6


def allowed_gradients(work: float, spent: int) -> float:
    """Return how many gradients a further step may take; none where one costs too much.

    Args:
        work: elements computed for one gradient.
        spent: gradients that the fit took.
    """
    return 0.0 if work > MOST_WORK else ALLOWED_FITS * spent + ALLOWED_WORK / work
