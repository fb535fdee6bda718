"""The corner plot: every pair of scalars, and each alone on the diagonal."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from taut._core.errors import MissingExtraError
from taut.report.fitted import Fitted, guide_words
from taut.report.plot_contours import draw_contours
from taut.report.plot_scalars import ShownScalar, choose_scalars
from taut.report.plot_style import (
    BLUE,
    PAGE_WIDTH,
    TRUTH,
    axis_label,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)

_LIMIT = 8
_WIDEST, _NARROWEST = 1.7, 0.8  # inches of a panel: few ones are no larger, many make a wider page
_MARGIN, _LABEL_LINE = 0.52, 0.14  # inches on the left and below: for ticks, for a line of labels
_RIGHT = 0.12
_LABEL_AWAY = 0.47  # inches from the panel to its label, past slanted tick labels
_GAP = 0.06


def draw_corner(
    fit: Fitted, names: str | Sequence[str] | None, truth: Mapping[str, Any] | None
) -> Any:
    """Draw the corner plot; see `Plots.corner`."""
    corner = corner_library()
    scalars, remarks = choose_scalars(fit, names, truth, _LIMIT)
    page = (PAGE_WIDTH - _MARGIN - 2 * _LABEL_LINE - _RIGHT) / len(scalars)
    panel = min(max(page, _NARROWEST), _WIDEST)
    labels = [axis_label(s.name, s.unit, max(8, int(panel * 14))) for s in scalars]
    margin = _MARGIN + _LABEL_LINE * max(label.count("\n") + 1 for label in labels)
    width = max(margin + _RIGHT + len(scalars) * panel, 4.0)
    panel = (width - margin - _RIGHT) / len(scalars)
    with default_look():
        title = title_lines(_title(fit, scalars, remarks), width)
        height = width + title_height(title) - _RIGHT
        figure = new_figure(width, height, layout=None)
        bins: Any = [s.bins for s in scalars]
        corner.corner(
            np.column_stack([scalar.draws for scalar in scalars]),
            fig=figure,
            bins=bins,
            range=[s.view for s in scalars],
            labels=labels,
            labelpad=_LABEL_AWAY / panel - 0.3,  # corner adds 0.3 panels
            color=BLUE,
            quantiles=(0.05, 0.5, 0.95),
            plot_contours=False,
            plot_density=False,
            quiet=True,
            data_kwargs={"ms": 1.2, "alpha": 0.15},
            hist_kwargs={"linewidth": 1.0},
        )
        figure.subplots_adjust(
            left=margin / width,
            right=1 - _RIGHT / width,
            bottom=margin / height,
            top=1 - title_height(title) / height,
            wspace=_GAP,
            hspace=_GAP,
        )
        for axes, across, up in pair_panels(figure, scalars):
            draw_contours(axes, across, up, across.draws, up.draws, BLUE, fill=True)
        finish_panels(figure, scalars, intervals=4 if panel > 1 else 3)
        put_title(figure, title)
    return figure


def corner_library() -> Any:
    """Import corner, without the announcements of an ArviZ that it imports if there is one.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            import corner
    except ImportError:
        raise MissingExtraError("corner", "plot") from None
    return corner


def pair_panels(
    figure: Any, scalars: list[ShownScalar]
) -> Iterator[tuple[Any, ShownScalar, ShownScalar]]:
    """Give every panel below the diagonal, with the scalar along it and the scalar up it."""
    grid = np.array(figure.axes).reshape(len(scalars), len(scalars))
    for row, column in zip(*np.tril_indices(len(scalars), -1), strict=True):
        yield grid[row, column], scalars[column], scalars[row]


def finish_panels(figure: Any, scalars: list[ShownScalar], intervals: int) -> None:
    """Set ticks that keep clear of the neighbouring panel's, and draw the truth."""
    from matplotlib.ticker import FixedLocator

    places = [_inner_ticks(scalar, intervals) for scalar in scalars]
    grid = np.array(figure.axes).reshape(len(scalars), len(scalars))
    for row, column in zip(*np.tril_indices(len(scalars)), strict=True):
        axes = grid[row, column]
        across, up = scalars[column], scalars[row]
        axes.xaxis.set_major_locator(FixedLocator(places[column]))
        if across.truth is not None:
            axes.axvline(across.truth, **TRUTH)
        if row != column:
            axes.yaxis.set_major_locator(FixedLocator(places[row]))
            if up.truth is not None:
                axes.axhline(up.truth, **TRUTH)


def _inner_ticks(scalar: ShownScalar, intervals: int) -> list[float]:
    """Return round places away from the ends of the axis, two or more if there are any."""
    from matplotlib.ticker import MaxNLocator

    low, high = scalar.view
    inside = 0.09 * (high - low)
    ticks: list[float] = []
    for finer in range(4):
        locator = MaxNLocator(intervals + finer, integer=scalar.discrete)
        wanted = np.asarray(locator.tick_values(low, high)).tolist()
        ticks = [tick for tick in wanted if low + inside <= tick <= high - inside]
        if len(ticks) >= 2:
            break
    return ticks


def _title(fit: Fitted, scalars: list[ShownScalar], remarks: list[str]) -> list[str]:
    reading = "contours hold 50% and 90% of the draws; blue dashes: 5%, 50%, 95%"
    if any(scalar.truth is not None for scalar in scalars):
        reading += "; black: truth"
    return [f"{guide_words(fit)}, trust: {fit.trust}", reading, *remarks]
