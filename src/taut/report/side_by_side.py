"""Several posteriors of one model in one plot: what they share, and how each is drawn."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.report.names import scalar_columns, scalar_names
from taut.report.plot_style import STAGE_LOOKS

DRAWS = 4000
_LINES = ("-", "--", ":", "-.")


@dataclasses.dataclass(frozen=True)
class Look:
    """How one entry is drawn; colour, line and marker each tell it from the others.

    Attributes:
        name: the entry.
        colour: of lines and markers.
        line: a Matplotlib line style.
        marker: a Matplotlib marker.
    """

    name: str
    colour: str
    line: str
    marker: str


class SideBySide:
    """The draws of several posteriors, and all of them thrown together.

    It samples like a fit, so what chooses the scalars, units and views of one fit chooses those of
    several: an equal number of draws of each decides.

    Args:
        entries: fits, NUTS runs, or draws by site, each by a name.

    Attributes:
        columns: draws by entry, then by scalar, of the scalars that all entries have.
        sites: the latent sites of the first entry, as far as they are shared.
    """

    def __init__(self, entries: Mapping[str, Any]):
        self._entries = entries
        every = {name: _columns(_draws(entry)) for name, entry in entries.items()}
        first = _draws(next(iter(entries.values())))
        self._scalars: dict[str, list[str]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for site, array in first.items():
            shape = np.shape(array)[1:]
            labels = scalar_names(site, shape)
            shared = [n for n in labels if all(n in columns for columns in every.values())]
            # A site of which only a part is shared falls apart into its scalars.
            whole = {site: (shape, labels)} if shared == labels else {n: ((), [n]) for n in shared}
            for name, (its_shape, its_labels) in whole.items():
                self._shapes[name], self._scalars[name] = its_shape, its_labels
        kept = [label for labels in self._scalars.values() for label in labels]
        if not kept:
            raise InputError("the entries have no scalar in common: are they of the same model?")
        self.columns = {
            name: {label: columns[label] for label in kept} for name, columns in every.items()
        }
        latent = getattr(next(iter(entries.values())), "sites", None)
        self.sites = tuple(
            name for name in self._shapes if latent is None or name.split("[")[0] in latent
        )

    def sample(self) -> dict[str, np.ndarray]:
        """Return the draws of all entries one after the other, as many of each, by site."""
        made = {}
        for site, labels in self._scalars.items():
            rows = [
                np.column_stack([np.resize(columns[label], DRAWS) for label in labels])
                for columns in self.columns.values()
            ]
            made[site] = np.concatenate(rows).reshape(-1, *self._shapes[site])
        return made

    def looks(self) -> list[Look]:
        """Return how each entry is drawn, in their order."""
        looks = zip(
            self._entries, itertools.cycle(STAGE_LOOKS), itertools.cycle(_LINES), strict=False
        )
        return [Look(name, colour, line, marker) for name, (colour, marker), line in looks]

    def trust_words(self) -> list[str]:
        """Return one sentence on which of the entries can be believed, none if none says."""
        words = [
            f"{name}: {entry.trust}"
            for name, entry in self._entries.items()
            if hasattr(entry, "trust")
        ]
        return [f"trust of {', '.join(words)}"] if words else []


def _draws(entry: Any) -> Mapping[str, np.ndarray]:
    return entry if isinstance(entry, Mapping) else entry.sample(DRAWS)


def _columns(draws: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {
        name: _spread(np.asarray(column, float))
        for site in draws
        for name, column in scalar_columns(draws, site).items()
    }


def _spread(column: np.ndarray) -> np.ndarray:
    # From end to end, because neighbours in a chain are alike.
    return column[:: -(-len(column) // DRAWS)]
