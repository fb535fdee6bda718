"""The most strongly related pairs of scalars: posterior draws over those of the guide."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.report.fitted import Fitted, guide_words
from taut.report.names import scalar_columns
from taut.report.plot_scalars import ShownScalar, choose_scalars
from taut.report.plot_style import (
    BLUE,
    GREY,
    PAGE_WIDTH,
    axis_label,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)

_SCALARS = 200
_PANELS = 12
_COLUMNS = 4
_ROW = 1.9  # inches
_POINTS = 1000


def draw_pairs(fit: Fitted, names: str | Sequence[str] | None) -> Any:
    """Draw the pairs; see `Plots.pairs`."""
    scalars, remarks = choose_scalars(fit, names, None, _SCALARS)
    if len(scalars) < 2:
        raise InputError("a pair needs two values; name two or more, or see fit.plot.marginals()")
    pairs = _strongest(scalars)
    count = len(scalars) * (len(scalars) - 1) // 2
    if len(pairs) < count:
        remarks = [*remarks, f"the {len(pairs)} most strongly related of {count:,} pairs"]
    guide = _guide_columns(fit)
    with default_look():
        columns = min(_COLUMNS, len(pairs)) if len(pairs) not in (5, 6, 9) else 3
        rows = math.ceil(len(pairs) / columns)
        width = PAGE_WIDTH if columns > 2 else 3.0 * columns + 1.0
        title = title_lines(_title(fit, remarks, bool(guide)), width)
        height = rows * _ROW + title_height(title)
        figure = new_figure(width, height)
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - title_height(title) / height))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        characters = int(width / columns * 12)
        for axes, (first, second, strength) in zip(grid, pairs, strict=False):
            _draw_one(axes, first, second, strength, guide, characters)
        for axes in grid[len(pairs) :]:
            axes.remove()
        put_title(figure, title)
    return figure


def _strongest(scalars: list[ShownScalar]) -> list[tuple[ShownScalar, ShownScalar, float]]:
    """Return the pairs with the largest rank correlation, which sees bent relations too."""
    from scipy.stats import rankdata  # its import takes longer than a fit

    ranks = np.array([rankdata(scalar.draws) for scalar in scalars])
    strength = np.corrcoef(ranks)
    every = itertools.combinations(range(len(scalars)), 2)
    order = sorted(every, key=lambda pair: -abs(strength[pair]))[:_PANELS]
    return [(scalars[i], scalars[j], float(strength[i, j])) for i, j in order]


def _guide_columns(fit: Fitted) -> dict[str, np.ndarray]:
    try:
        draws = fit.sample(_POINTS, corrected=False)
    except InputError:  # loaded without its model: there is only what was stored
        return {}
    return {name: c for site in draws for name, c in scalar_columns(draws, site).items()}


def _draw_one(
    axes: Any,
    across: ShownScalar,
    up: ShownScalar,
    strength: float,
    guide: dict[str, np.ndarray],
    characters: int,
) -> None:
    from matplotlib.ticker import MaxNLocator

    look: Any = {"linewidths": 0, "rasterized": True}
    if guide:
        x, y = across.in_unit(guide[across.name]), up.in_unit(guide[up.name])
        axes.scatter(x, y, s=5, color=GREY, alpha=0.35, marker="s", **look)
    axes.scatter(across.draws[:_POINTS], up.draws[:_POINTS], s=5, color=BLUE, alpha=0.5, **look)
    axes.set_title(f"rank correlation {strength:.2f}", fontsize=7, pad=3)
    axes.set_xlabel(axis_label(across.name, across.unit, characters))
    axes.set_ylabel(axis_label(up.name, up.unit, characters))
    axes.set_xlim(across.view)
    axes.set_ylim(up.view)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.spines[["top", "right"]].set_visible(False)


def _title(fit: Fitted, remarks: list[str], with_guide: bool) -> list[str]:
    reading = "blue dots: posterior draws"
    if with_guide:
        reading += "; grey squares behind: the guide's own draws, before correction"
    return [f"{guide_words(fit)}, trust: {fit.trust}", reading, *remarks]
