"""The look of every plot: one width, one palette, readable in print and without colour vision.

The palette is Okabe and Ito's (2008, jfly.uni-koeln.de/color), whose colours stay apart for every
common kind of colour vision; markers and line styles repeat what colours say, for grey print.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from taut._core.errors import MissingExtraError
from taut.report.terminal import MORE, printable, shorten_middle, width, wrap

PAGE_WIDTH = 7.5  # inches: the text width of A4 and letter paper with narrow margins
BLUE = "#0072b2"
VERMILLION = "#d55e00"
GREY = "#666666"
STAGE_LOOKS = (
    ("#0072b2", "o"),
    ("#e69f00", "s"),
    ("#009e73", "^"),
    ("#cc79a7", "D"),
    ("#56b4e9", "v"),
    ("#d55e00", "P"),
    ("#000000", "X"),
)
_RC = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 8,
    "figure.titlesize": 9,
    "axes.formatter.useoffset": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "figure.dpi": 100,
}
_TITLE_LINE = 0.16  # inches


@contextlib.contextmanager
def default_look() -> Iterator[None]:
    """Draw with Taut's look whatever the user's Matplotlib settings, and leave those alone."""
    matplotlib = _matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def new_figure(across: float, up: float, layout: str | None = "constrained") -> Any:
    """Return an empty white figure, so many inches large, that pyplot does not know of."""
    _matplotlib()
    from taut.report.notebook_figure import NotebookFigure

    return NotebookFigure(figsize=(across, up), layout=layout, facecolor="white")


def axis_text(text: str) -> str:
    """Return plain text for Matplotlib, which would read dollar signs as mathematics."""
    return printable(text).replace("$", r"\$")


def axis_label(name: str, unit: str, characters: int) -> str:
    """Return a name on one or two lines of so many characters, and its unit on a last one."""
    name = shorten_middle(printable(name), 2 * characters)
    lines = [name] if width(name) <= characters else _halves(name, characters)
    return "\n".join([*map(axis_text, lines), *([unit] if unit else [])])


def title_lines(sentences: list[str], inches: float) -> list[str]:
    """Break a figure's title into lines that fit a figure so many inches wide."""
    columns = int(inches * 14.5)
    return [
        axis_text(line)
        for sentence in sentences
        for line in wrap(sentence, lines=3, columns=columns)
    ]


def title_height(lines: list[str]) -> float:
    """Return the inches to keep free above the panels."""
    return _TITLE_LINE * len(lines) + 0.12


def put_title(figure: Any, lines: list[str]) -> None:
    """Write the title block at the top left, its first line in bold."""
    across, up = figure.get_size_inches()
    for row, line in enumerate(lines):
        figure.text(
            0.1 / across,
            1 - (0.08 + _TITLE_LINE * row) / up,
            line,
            fontsize=9 if row == 0 else 8,
            fontweight="bold" if row == 0 else "normal",
            va="top",
        )


def _halves(name: str, characters: int) -> list[str]:
    """Break a name near its middle: at a cut, or between words if that leaves short parts."""
    if MORE in name:
        seam = name.index(MORE) + len(MORE)
        return [name[:seam], name[seam:]]
    seams = [i for i in range(1, len(name)) if name[i - 1] in "_/ " or name[i] == "["]
    fitting = [i for i in seams if max(i, len(name) - i) <= characters]
    seam = min(fitting, key=lambda i: abs(2 * i - len(name)), default=len(name) // 2)
    return [name[:seam], name[seam:]]


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError("matplotlib", "plot") from None
    return matplotlib
