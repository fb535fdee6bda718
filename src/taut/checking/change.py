"""The sites that a guide computes from others that it draws."""

import dataclasses
from typing import Any

import numpy as np

from taut._core.errors import first_few
from taut.checking.flow import Flow, drawn_sites
from taut.checking.reading import Reading
from taut.checking.words import plural


@dataclasses.dataclass(frozen=True)
class Change:
    """The computed sites of a guide and what they are made from.

    Attributes:
        computed: model sites with a random value that is computed.
        sources: the drawn sites outside the model that they are made from.
        kept: the drawn sites of the model that they are made from.
        simplexes: the computed sites whose last number follows from the others.
    """

    computed: tuple[str, ...]
    sources: tuple[str, ...]
    kept: tuple[str, ...]
    simplexes: tuple[str, ...] = ()

    def free(self, name: str, value: Any) -> Any:
        """Return the numbers of a computed site that its density is a density of."""
        return value[..., :-1] if name in self.simplexes else value

    def numbers(self, guide: Reading) -> int:
        """How many numbers are made."""
        shapes = {n: guide.sites[n].shape for n in self.computed}
        empty = (np.empty(shape) for shape in shapes.values())
        return sum(self.free(n, v).size for n, v in zip(shapes, empty, strict=True))

    def smooth(self, guide: Reading) -> list[str]:
        """The sources that a derivative can be taken in."""
        return [n for n in self.sources if not guide.sites[n].discrete]

    def used(self, guide: Reading) -> int:
        """How many numbers they are made of."""
        return sum(guide.sites[n].size for n in self.smooth(guide))


def find_change(guide: Reading, model: Reading, flow: Flow) -> Change:
    """List the computed sites of a guide that are random, and their sources."""
    drawn, latents = drawn_sites(guide), model.latents()
    computed = [n for n, depends in flow.computed.items() if depends & {*drawn, ""}]
    parents = frozenset().union(*(flow.computed[n] for n in computed))
    sources = tuple(n for n in drawn if n in parents and n not in latents)
    kept = tuple(n for n in drawn if n in parents and n in latents)
    simplexes = tuple(n for n in computed if model.sites[n].support == "simplex")
    return Change(tuple(computed), sources, kept, simplexes)


def words_of(guide: Reading, change: Change) -> tuple[str, str]:
    """Say how many numbers are made, and of which."""
    made = change.numbers(guide)
    source = change.used(guide)
    names = first_few(change.computed)
    verb = "is" if len(change.computed) == 1 else "are"
    origin = f" ({first_few(change.sources)})" if change.sources else ""
    kind = "auxiliary" if source == 1 else "auxiliaries"
    numbers = plural(made, "number")
    if change.simplexes:
        numbers += f" (the last of {first_few(change.simplexes)} follows from the others)"
    return names, f"{names} {verb} {numbers} made from {source} {kind}{origin}"
