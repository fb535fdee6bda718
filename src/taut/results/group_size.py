"""Which computed groups of an ArviZ tree are made without being asked for."""

PRIOR_DRAWS = 1000
LARGEST_GROUP = 1e9
"""Bytes beyond which a group is made only when it is asked for by name."""


def too_large(group: str, numbers: int, draws: int, itemsize: int) -> str | None:
    """Return why a group is not made unasked, None if it is small enough.

    Args:
        group: its name.
        numbers: how many numbers one draw has.
        draws: how many draws.
        itemsize: bytes of a number.
    """
    size = float(draws * numbers * itemsize)
    if size <= LARGEST_GROUP:
        return None
    return f"it would take {size / 1e9:.1f} GB; ask for it with groups=[{group!r}, ...]"
