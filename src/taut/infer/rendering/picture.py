"""The drawing of a program's graph with Matplotlib."""

from typing import Any

from taut.infer.rendering.layout import Layout, lay_out
from taut.infer.rendering.program_graph import DETERMINISTIC, OBSERVED, PARAM, Node, ProgramGraph
from taut.report.plot_style import axis_text, default_look, new_figure

_ROW = 0.85  # inches
_LETTER = 0.068  # inches: a character of the labels
_NARROWEST = 0.5  # inches: an ellipse
_GAP = 0.16  # inches between two nodes
_HEIGHT = 0.42  # of an ellipse, inches
_MARGIN = 0.15  # inches
_TITLE = 0.35  # inches
_BOTTOM = 0.2  # inches below the members of a plate, for its name
_LINE = 0.16  # inches


def draw_graphs(graphs: dict[str, ProgramGraph], distributions: bool) -> Any:
    """Draw graphs side by side, each below its title.

    Args:
        graphs: the graphs by their titles; an empty title is left out.
        distributions: whether to list what each site is drawn from.
    """
    panels = [_Panel(graph, distributions) for graph in graphs.values()]
    titled = _TITLE if any(graphs) else 0.0
    width = sum(panel.width for panel in panels)
    height = max(panel.height for panel in panels) + titled
    with default_look():
        figure = new_figure(width, height, layout=None)
        left = 0.0
        for title, panel in zip(graphs, panels, strict=True):
            axes = figure.add_axes((left / width, 0.0, panel.width / width, 1.0))
            axes.set(xlim=(0.0, panel.width), ylim=(height, 0.0))
            axes.axis("off")
            if title:
                axes.text(panel.width / 2, 0.22, axis_text(title), ha="center", weight="bold")
            panel.draw(axes, titled)
            left += panel.width
    return figure


class _Panel:
    """One graph, measured in inches from its top left corner."""

    def __init__(self, graph: ProgramGraph, distributions: bool):
        self._graph = graph
        widths = {node.name: _width(node) + _GAP for node in graph.nodes}
        self._layout: Layout = lay_out(graph, widths)
        self._lines = _descriptions(graph) if distributions else []
        body = self._layout.width
        text = _LETTER * max((len(line) for line in self._lines), default=0)
        self.width = max(body, text) + 2 * _MARGIN
        self._shift = (self.width - body) / 2
        self._body = _ROW * (self._layout.height - 1) + _HEIGHT + 2 * _BOTTOM
        self.height = self._body + _LINE * len(self._lines) + 2 * _MARGIN

    def draw(self, axes: Any, top: float) -> None:
        """Draw the graph below `top`."""
        from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

        middle = _MARGIN + top + _HEIGHT / 2
        rows = {name: middle + _ROW * row for name, row in self._layout.rows.items()}
        columns = {n: self._shift + c for n, c in self._layout.columns.items()}
        for box in self._layout.boxes:
            # Inner plates leave room for the name of those around them.
            above = _HEIGHT / 2 + 0.08 * (1 + box.depth)
            below = _HEIGHT / 2 + _BOTTOM * (1 + box.depth)
            left, right = self._shift + box.left, self._shift + box.right
            start = middle + _ROW * box.top - above
            end = middle + _ROW * box.bottom + below
            axes.add_patch(
                FancyBboxPatch(
                    (left, start),
                    right - left,
                    end - start,
                    boxstyle="round,pad=0,rounding_size=0.08",
                    facecolor="none",
                    edgecolor="0.4",
                    linewidth=0.8,
                )
            )
            name = axis_text(box.plate.name)
            axes.text(right - 0.06, end - 0.06, name, ha="right", va="bottom", color="0.3")
        patches = {}
        for node in self._graph.nodes:
            patches[node.name] = self._draw_node(axes, node, columns[node.name], rows[node.name])
        for node in self._graph.nodes:
            for parent in node.parents:
                axes.add_patch(
                    FancyArrowPatch(
                        (columns[parent], rows[parent]),
                        (columns[node.name], rows[node.name]),
                        patchA=patches[parent],
                        patchB=patches[node.name],
                        arrowstyle="-|>",
                        mutation_scale=9,
                        shrinkA=0,
                        shrinkB=1,
                        linewidth=0.8,
                        color="0.2",
                        zorder=1,
                    )
                )
        for i, line in enumerate(self._lines):
            place = top + _MARGIN + self._body + _LINE * (i + 0.5)
            axes.text(_MARGIN, place, axis_text(line), va="center", size=7)

    def _draw_node(self, axes: Any, node: Node, x: float, y: float) -> Any:
        from matplotlib.patches import Ellipse

        param = node.kind == PARAM
        patch = Ellipse(
            (x, y),
            _width(node),
            _HEIGHT / 2 if param else _HEIGHT,
            facecolor={OBSERVED: "0.82"}.get(node.kind, "white"),
            edgecolor="none" if param else "0.2",
            linestyle="--" if node.kind == DETERMINISTIC else "-",
            linewidth=0.9,
            zorder=2,
        )
        axes.add_patch(patch)
        axes.text(x, y, axis_text(_shown(node)), ha="center", va="center", zorder=3)
        return patch


def _width(node: Node) -> float:
    width = _LETTER * len(_shown(node))
    return width + 0.08 if node.kind == PARAM else max(width + 0.26, _NARROWEST)


def _shown(node: Node) -> str:
    return node.name.removesuffix("$params")


def _descriptions(graph: ProgramGraph) -> list[str]:
    return [
        f"{_shown(node)} {'∈' if node.kind == PARAM else '~'} {node.label}"
        for node in graph.nodes
        if node.kind != DETERMINISTIC
    ]
