"""The seeds that tests of random results run over."""

SEEDS = tuple(range(11))
