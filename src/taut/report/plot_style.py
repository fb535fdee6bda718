"""The look of every plot: one width, one palette, readable in print and without colour vision.

The palette is Okabe and Ito's (2008, jfly.uni-koeln.de/color), whose colours stay apart for every
common kind of colour vision; markers and line styles repeat what colours say, for grey print.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Literal

from taut._core.errors import MissingExtraError
from taut.report.terminal import printable, shorten_middle, width, wrap

PAGE_WIDTH = 7.5  # inches: the text width of A4 and letter paper with narrow margins
BLUE = "#0072b2"
VERMILLION = "#d55e00"
GREY = "#666666"
# No series, stage or warning is black: a truth is known by its colour.
TRUTH: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.2}
STAGE_LOOKS = (
    ("#0072b2", "o"),
    ("#e69f00", "s"),
    ("#009e73", "^"),
    ("#cc79a7", "D"),
    ("#56b4e9", "v"),
    ("#d55e00", "P"),
    ("#882255", "X"),
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
_FONTS = ("font.family", "font.sans-serif", "font.serif", "font.monospace")
_TITLE_LINE = 0.16  # inches
_NAME_LINES = 4


@contextlib.contextmanager
def default_look() -> Iterator[None]:
    """Draw with Taut's look whatever the user's Matplotlib settings, and leave those alone.

    Only the fonts stay the user's, who may have chosen them for the script of the site names.
    """
    matplotlib = _matplotlib()
    with matplotlib.rc_context():
        fonts = {setting: matplotlib.rcParams[setting] for setting in _FONTS}
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC | fonts)
        yield


def figure_settings(settings: dict[str, Any]) -> contextlib.AbstractContextManager:
    """Return a context with some of Matplotlib's settings changed."""
    return _matplotlib().rc_context(settings)


def new_figure(
    across: float, up: float, layout: Literal["constrained"] | None = "constrained"
) -> Any:
    """Return an empty white figure, so many inches large, that pyplot does not know of."""
    _matplotlib()
    from taut.report.notebook_figure import NotebookFigure

    return NotebookFigure(figsize=(across, up), layout=layout, facecolor="white")


def axis_text(text: str) -> str:
    """Return plain text for Matplotlib, which would read dollar signs as mathematics."""
    return printable(text).replace("$", r"\$")


def axis_label(name: str, unit: str, characters: int) -> str:
    """Return a name on lines of so many characters, four at most, and its unit on a last one."""
    lines = _break_name(printable(name), characters)
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


def _break_name(name: str, characters: int) -> list[str]:
    """Break a name after underscores and before its index; cut out its middle if it is too long."""
    lines = [""]
    for word in re.split(r"(?<=[_/ ])|(?=\[)", name):
        if width(lines[-1] + word) > characters:
            lines.append("")
        lines[-1] += word
    lines = _pieces(lines, characters)
    if len(lines) <= _NAME_LINES:
        return lines
    short = shorten_middle(name, _NAME_LINES * characters).replace("...", "\N{HORIZONTAL ELLIPSIS}")
    return _pieces([short], characters)


def _pieces(lines: list[str], characters: int) -> list[str]:
    return [line[i : i + characters] for line in lines for i in range(0, len(line), characters)]


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError("matplotlib", "plot") from None
    return matplotlib
