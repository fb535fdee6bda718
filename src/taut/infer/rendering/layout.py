"""Where to draw the nodes of a graph: parents above children, the members of a plate together.

A node's row is one below the lowest of its parents; those without parents stand just above their
children. Columns are found by sweeps up and down, in each of which a node, or a plate with all of
its nodes, moves to the mean place of what it is linked to, as far as its neighbours let it.
"""

import dataclasses

import numpy as np

from taut.infer.rendering.program_graph import Plate, ProgramGraph

SWEEPS = 8
PAD = 0.15
"""Room that a plate takes on each side of its members, in the unit of their widths."""


@dataclasses.dataclass(frozen=True)
class Box:
    """Where a plate is drawn.

    Attributes:
        plate: the plate.
        left: its left side.
        right: its right side.
        top: its first row.
        bottom: its last row.
        depth: how many plates are inside it, one within the other.
    """

    plate: Plate
    left: float
    right: float
    top: int
    bottom: int
    depth: int


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where everything is drawn, in the unit of the nodes' widths.

    Attributes:
        columns: the middle of each node, from the left.
        rows: the row of each node, 0 at the top.
        boxes: the plates, outer ones first.
        width: from the left side of all to the right one.
    """

    columns: dict[str, float]
    rows: dict[str, int]
    boxes: tuple[Box, ...]
    width: float

    @property
    def height(self) -> int:
        """Number of rows."""
        return max(self.rows.values(), default=-1) + 1


def lay_out(graph: ProgramGraph, widths: dict[str, float]) -> Layout:
    """Place the nodes and plates of a graph.

    Args:
        graph: the graph.
        widths: how wide each node is, the room around it included.
    """
    rows = _rows(graph)
    names = [node.name for node in graph.nodes]
    links: dict[str, list[str]] = {name: [] for name in names}
    for node in graph.nodes:
        for parent in node.parents:
            links[node.name].append(parent)
            links[parent].append(node.name)
    if not names:
        return Layout({}, {}, (), 0.0)
    columns, width = _place(names, list(graph.plates), rows, links, widths)
    boxes = tuple(_box(plate, graph, columns, rows, widths) for plate in graph.plates)
    return Layout(columns, rows, boxes, width)


def _rows(graph: ProgramGraph) -> dict[str, int]:
    rows: dict[str, int] = {}
    parents = {node.name: node.parents for node in graph.nodes}

    def row_of(name: str) -> int:
        if name not in rows:
            rows[name] = 1 + max((row_of(parent) for parent in parents[name]), default=-1)
        return rows[name]

    for name in parents:
        row_of(name)
    for name in parents:
        children = [rows[n] for n, above in parents.items() if name in above]
        if not parents[name] and children:
            rows[name] = min(children) - 1
    return rows


def _place(
    names: list[str],
    plates: list[Plate],
    rows: dict[str, int],
    links: dict[str, list[str]],
    widths: dict[str, float],
) -> tuple[dict[str, float], float]:
    """Return the columns of these nodes, from 0, and how wide they are together."""
    groups = [
        _place_group(members, plate, plates, rows, links, widths)
        for members, plate in _split(names, plates)
    ]
    bands = _bands(groups)
    columns: dict[str, float] = {}
    for band in bands:
        # At first side by side in the program's order.
        for start, group in zip(np.cumsum([0.0, *(g.width for g in band)]), band, strict=False):
            columns.update(group.at(float(start)))
    for sweep in range(SWEEPS):
        for band in bands if sweep % 2 else reversed(bands):
            wishes = [group.wish(links, columns) for group in band]
            middles = [w + group.width / 2 for w, group in zip(wishes, band, strict=True)]
            # Rounded, so that equal wishes keep the program's order.
            order = np.argsort(np.round(middles, 3), kind="stable")
            starts = _apart([wishes[i] for i in order], [band[i].width for i in order])
            for i, start in zip(order, starts, strict=True):
                columns.update(band[i].at(start))
    starts = [columns[name] - own for group in groups for name, own in group.columns.items()]
    ends = [columns[n] - own + g.width for g in groups for n, own in g.columns.items()]
    left = min(starts)
    return {name: column - left for name, column in columns.items()}, max(ends) - left


@dataclasses.dataclass(frozen=True)
class _Group:
    """A node, or a plate with all its nodes, that moves as one.

    Attributes:
        columns: the columns of its nodes from its left side.
        width: how wide it is.
        first: its first row.
        last: its last row.
    """

    columns: dict[str, float]
    width: float
    first: int
    last: int

    def at(self, start: float) -> dict[str, float]:
        """Return the columns of its nodes when its left side is at `start`."""
        return {name: start + own for name, own in self.columns.items()}

    def wish(self, links: dict[str, list[str]], columns: dict[str, float]) -> float:
        """Return where it would start if it were free: at the mean of what it is linked to."""
        places = [
            columns[other] - own
            for name, own in self.columns.items()
            for other in links[name]
            if other in columns and other not in self.columns
        ]
        name, own = next(iter(self.columns.items()))
        return sum(places) / len(places) if places else columns[name] - own


def _place_group(
    members: list[str],
    plate: Plate | None,
    plates: list[Plate],
    rows: dict[str, int],
    links: dict[str, list[str]],
    widths: dict[str, float],
) -> _Group:
    first, last = min(rows[name] for name in members), max(rows[name] for name in members)
    if plate is None:
        width = widths[members[0]]
        return _Group({members[0]: width / 2}, width, first, last)
    inner = [p for p in plates[plates.index(plate) + 1 :] if p.members <= plate.members]
    columns, width = _place(members, inner, rows, links, widths)
    return _Group({n: c + PAD for n, c in columns.items()}, width + 2 * PAD, first, last)


def _split(names: list[str], plates: list[Plate]) -> list[tuple[list[str], Plate | None]]:
    """Return the outermost plates with their members, and each of the other nodes by itself."""
    parts: list[tuple[list[str], Plate | None]] = []
    taken: set[str] = set()
    for name in names:
        if name not in taken:
            plate = next((p for p in plates if name in p.members), None)
            inside = plate.members if plate else {name}
            members = [n for n in names if n in inside and n not in taken]
            taken.update(members)
            parts.append((members, plate))
    return parts


def _bands(groups: list[_Group]) -> list[list[_Group]]:
    """Return the groups, those together that share rows, from the top."""
    bands: list[list[_Group]] = []
    end = -1
    for group in sorted(groups, key=lambda g: g.first):
        if group.first > end:
            bands.append([])
        bands[-1].append(group)
        end = max(end, group.last)
    return bands


def _apart(wishes: list[float], widths: list[float]) -> list[float]:
    """Return starts as near to those wished for as intervals of these widths can be, in order.

    What is left of each start when the widths before it are taken off must not fall: least squares
    under that condition is isotonic regression, by pooling adjacent violators.
    """
    before = np.cumsum([0.0, *widths[:-1]])
    pools: list[tuple[float, int]] = []
    for wish, shift in zip(wishes, before, strict=True):
        mean, count = wish - shift, 1
        while pools and pools[-1][0] > mean:
            other, size = pools.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [float(mean + shift) for mean, shift in zip(means, before, strict=True)]


def _box(
    plate: Plate,
    graph: ProgramGraph,
    columns: dict[str, float],
    rows: dict[str, int],
    widths: dict[str, float],
) -> Box:
    inner = graph.plates[graph.plates.index(plate) + 1 :]
    between = {name: sum(name in p.members for p in inner) for name in plate.members}
    # Two thirds of its own padding, so that plates beside each other stay apart.
    room = {name: widths[name] / 2 + PAD * (n + 2 / 3) for name, n in between.items()}
    left = min(columns[name] - room[name] for name in room)
    right = max(columns[name] + room[name] for name in room)
    levels = [rows[name] for name in room]
    return Box(plate, left, right, min(levels), max(levels), max(between.values()))
