"""The corner plots of several posteriors over each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taut.report.plot_contours import draw_contours
from taut.report.plot_corner import corner_library, finish_panels, pair_panels
from taut.report.plot_scalars import choose_scalars
from taut.report.plot_style import (
    PAGE_WIDTH,
    axis_label,
    axis_text,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)
from taut.report.side_by_side import SideBySide

_LIMIT = 8
_WIDEST, _NARROWEST, _MARGIN, _RIGHT = 1.7, 0.8, 0.85, 0.12
_LABEL_AWAY = 0.47
_BINS = 30


def draw_overlay(
    entries: Mapping[str, Any],
    names: str | Sequence[str] | None,
    truth: Mapping[str, Any] | None,
) -> Any:
    """Draw the overlaid corner plot; see `Comparison.corner`."""
    corner = corner_library()
    from matplotlib.lines import Line2D

    together = SideBySide(entries)
    scalars, remarks = choose_scalars(together, names, truth, _LIMIT)
    page = (PAGE_WIDTH - _MARGIN - _RIGHT) / len(scalars)
    panel = min(max(page, _NARROWEST), _WIDEST)
    width = max(_MARGIN + _RIGHT + panel * len(scalars), 4.0)
    panel = (width - _MARGIN - _RIGHT) / len(scalars)
    labels = [axis_label(s.name, s.unit, max(8, int(panel * 14))) for s in scalars]
    reading = "contours hold 50% and 90% of the draws"
    if any(scalar.truth is not None for scalar in scalars):
        reading += "; black dashes: truth"
    looks = together.looks()
    bins: Any = [scalar.bins if scalar.discrete else _BINS for scalar in scalars]
    with default_look():
        title = title_lines([reading, *together.trust_words(), *remarks], width)
        height = width + title_height(title) - _RIGHT
        figure = new_figure(width, height, layout=None)
        for look in looks:
            columns = together.columns[look.name]
            corner.corner(
                np.column_stack([scalar.in_unit(columns[scalar.name]) for scalar in scalars]),
                fig=figure,
                bins=bins,
                range=[scalar.view for scalar in scalars],
                labels=labels,
                labelpad=_LABEL_AWAY / panel - 0.3,  # corner adds 0.3 panels
                color=look.colour,
                plot_contours=False,
                plot_density=False,
                plot_datapoints=False,
                quiet=True,
                hist_kwargs={"linewidth": 1.1, "linestyle": look.line, "density": True},
            )
            for axes, across, up in pair_panels(figure, scalars):
                x, y = across.in_unit(columns[across.name]), up.in_unit(columns[up.name])
                draw_contours(axes, across, up, x, y, look.colour, look.line)
        figure.subplots_adjust(
            left=_MARGIN / width,
            right=1 - _RIGHT / width,
            bottom=_MARGIN / height,
            top=1 - title_height(title) / height,
            wspace=0.06,
            hspace=0.06,
        )
        finish_panels(figure, scalars, intervals=4 if panel > 1 else 3)
        _grow_histograms(figure, len(scalars))
        handle: Any = Line2D
        handles = [
            handle([], [], color=look.colour, linestyle=look.line, label=axis_text(look.name))
            for look in looks
        ]
        top = 1 - title_height(title) / height
        figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(1.0, top), frameon=False)
        put_title(figure, title)
    return figure


def _grow_histograms(figure: Any, count: int) -> None:
    """Make room for the tallest histogram of each diagonal panel: corner fits the last one."""
    for i in range(count):
        axes = figure.axes[i * (count + 1)]
        tops = [path.get_xy()[:, 1].max() for path in axes.patches if hasattr(path, "get_xy")]
        if tops:
            axes.set_ylim(0, 1.1 * max(tops))
