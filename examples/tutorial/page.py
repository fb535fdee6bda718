"""What the pages share: `--short` for a quick run, `--out` for where figures go."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt


@dataclasses.dataclass(frozen=True)
class Page:
    """How a page is to be run.

    Attributes:
        short: make few steps, to see that everything runs; the numbers are then not the true ones.
        out: folder for the figures.
    """

    short: bool
    out: Path

    def steps(self, full: int) -> int:
        """Return how many steps to make."""
        return 200 if self.short else full

    def save(self, figure, name: str) -> None:
        """Write a figure as PNG and close it."""
        figure.savefig(self.out / f"{name}.png", dpi=110, bbox_inches="tight")
        plt.close(figure)


def read_options(arguments: Sequence[str] | None) -> Page:
    """Read the options of a page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="few steps, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where figures go")
    options = parser.parse_args(arguments)
    return Page(options.short, options.out)
