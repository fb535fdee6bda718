"""`render_model`: a picture of a model, or of a model and a guide side by side."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taut._core.errors import InputError
from taut.infer.rendering.picture import draw_graphs
from taut.infer.rendering.program_graph import ProgramGraph, read_graph
from taut.infer.rendering.words import describe, dot_source

_SOURCES = (".dot", ".gv")
_PICTURES = (".pdf", ".png", ".svg")


class Rendering:
    """Programs as graphs: print it, draw it with `figure()`, or hand its `source` to Graphviz.

    A notebook shows the figure, or the text where Matplotlib is not installed.

    Attributes:
        graphs: the graphs, by the title of each.
    """

    def __init__(self, graphs: dict[str, ProgramGraph], distributions: bool):
        self.graphs = graphs
        self._distributions = distributions

    @property
    def source(self) -> str:
        """The graphs in the language of Graphviz."""
        return dot_source(self.graphs)

    def figure(self) -> Any:
        """Draw the graphs.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
        """
        return draw_graphs(self.graphs, self._distributions)

    def save(self, filename: str | Path) -> None:
        """Write the graphs to a file: a picture, Graphviz source, or text, by its suffix.

        Args:
            filename: ends in .png, .svg, .pdf, .dot, .gv or .txt.

        Raises:
            InputError: another suffix.
            MissingExtraError: a picture is wanted, and Matplotlib is not installed.
        """
        path = Path(filename)
        suffix = path.suffix.lower()
        if suffix in _PICTURES:
            self.figure().savefig(path, dpi=150)
        elif suffix in _SOURCES:
            path.write_text(self.source, encoding="utf-8")
        elif suffix == ".txt":
            path.write_text(f"{self}\n", encoding="utf-8")
        else:
            known = ", ".join((*_PICTURES, *_SOURCES, ".txt"))
            raise InputError(f"render_model writes {known}; got {path.name!r}")

    def __str__(self) -> str:
        parts = []
        for title, graph in self.graphs.items():
            text = describe(graph)
            parts.append(f"{title}\n" + _indented(text) if title else text)
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_png_(self) -> Any:
        if importlib.util.find_spec("matplotlib") is None:
            return None
        return self.figure()._repr_png_()


def render_model(
    model: Callable,
    model_args: tuple | None = None,
    model_kwargs: dict[str, Any] | None = None,
    filename: str | Path | None = None,
    render_distributions: bool = False,
    render_params: bool = False,
    *,
    guide: Callable | None = None,
) -> Rendering:
    """Show a model's sites, what each is made from, and its plates.

    Observed sites are grey, deterministic ones have a dashed outline, params have none. Nothing is
    computed. Unlike NumPyro's function of this name it needs no Graphviz, and returns no
    `graphviz.Digraph`; `result.source` is what one is made of.

    Args:
        model: a NumPyro model.
        model_args: its arguments.
        model_kwargs: its keyword arguments.
        filename: where to save it; see `Rendering.save`.
        render_distributions: whether to list the distribution of each site, and the constraint of
            each param that is shown.
        render_params: whether to show params.
        guide: a guide with the same arguments, to show beside the model.

    Returns:
        What can be printed, drawn and saved.

    Raises:
        InputError: the model or the guide is no function, or the file's suffix is unknown.
    """
    args, kwargs = tuple(model_args or ()), dict(model_kwargs or {})
    programs = {"": model} if guide is None else {"model": model, "guide": guide}
    graphs = {
        title: read_graph(program, args, kwargs, render_params)
        for title, program in programs.items()
    }
    result = Rendering(graphs, render_distributions)
    if filename is not None:
        result.save(filename)
    return result


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
