"""Checks of the options that several guides take."""

from taut._core.errors import InputError


def check_init_scale(init_scale: float) -> float:
    """Return the scale to start from.

    Raises:
        InputError: it is not positive.
    """
    if not init_scale > 0:
        raise InputError(f"init_scale must be positive; got {init_scale}")
    return init_scale


def check_rank(rank: int | None) -> int | None:
    """Return the rank asked for, None for one that follows from the size.

    Raises:
        InputError: it is less than one.
    """
    if rank is not None and rank < 1:
        raise InputError(f"rank must be at least 1; got {rank}")
    return rank
