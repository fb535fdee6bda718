"""How much a step beyond a Gaussian may cost, decided by counting and never by the clock."""

# So many times what the fit took, and so many elements computed on top. Above the last limit, a
# tenth of a millisecond a gradient or more, nothing is run only to confirm what looks good.
ALLOWED_FITS, ALLOWED_WORK, COSTLY_WORK = 2.5, 3e8, 1e6


def allowed_gradients(work: float, spent: int) -> float:
    """Return how many gradients a further step may take.

    Args:
        work: elements computed for one gradient.
        spent: gradients that the fit took.
    """
    return ALLOWED_FITS * spent + ALLOWED_WORK / work
