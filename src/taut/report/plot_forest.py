"""The forest: one row for each group of a hierarchical model, several posteriors beside each other.

A corner plot of thirty groups cannot be read. Rows of intervals can: where the groups lie, how far
each is known, and whether two posteriors say the same of them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.report.names import scalar_names
from taut.report.plot_scalars import LOGARITHM, ShownScalar, choose_scalars, prepare
from taut.report.plot_style import (
    PAGE_WIDTH,
    TRUTH,
    axis_label,
    axis_text,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)
from taut.report.side_by_side import Look, SideBySide

_MOST_ROWS = 60  # of a site, unless they are named
_MOST_SITES = 6
_COLUMNS = 3
_ROW, _ENTRY = 0.07, 0.10  # inches of a row, and of each posterior in it
_PANEL = 0.75  # inches of a panel beside its rows: title, ticks and label
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def draw_forest(
    entries: Mapping[str, Any],
    names: str | Sequence[str] | None,
    truth: Mapping[str, Any] | None,
    sort: bool = False,
    heading: Sequence[str] = (),
) -> Any:
    """Draw the forest; see `Plots.forest` and `Comparison.forest`."""
    together = SideBySide(entries)
    wanted, remarks = _rows(together) if names is None else (names, [])
    scalars, more = choose_scalars(together, wanted, truth, _MOST_ROWS)
    panels: dict[str, list[ShownScalar]] = {}
    for scalar in scalars:
        panels.setdefault(_site(scalar.name), []).append(scalar)
    looks = together.looks()
    with_truth = any(scalar.truth is not None for scalar in scalars)
    reading = "point: median; thick line: 25% to 75%; thin line: 5% to 95%"
    sentences = [*heading, *together.trust_words()] if len(entries) > 1 else [*heading]
    with default_look():
        lines = _lines(panels)
        columns = max(map(len, lines))
        each = _ROW + _ENTRY * len(looks)
        tall = [len(panels[line[0]]) * each + _PANEL for line in lines]
        width = PAGE_WIDTH if columns > 1 else 4.5
        title = title_lines([*sentences, reading, *remarks, *more], width)
        legend = 0.3 if len(looks) > 1 or with_truth else 0.0
        height = sum(tall) + title_height(title) + legend
        figure = new_figure(width, height)
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - title_height(title) / height))
        grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=tall)
        characters = int(width / columns * 12)
        for line, row in zip(lines, grid, strict=True):
            for site, axes in zip(line, row, strict=False):
                _draw_site(axes, site, panels[site], together, looks, sort, characters)
            for axes in row[len(line) :]:
                axes.remove()
        if legend:
            _put_legend(figure, looks if len(looks) > 1 else [], with_truth)
        put_title(figure, title)
    return figure


def _rows(together: SideBySide) -> tuple[list[str], list[str]]:
    """Return the groups, or all latent values where nothing is grouped, and what is left out."""
    draws = together.sample()
    by_site = {site: scalar_names(site, draws[site].shape[1:]) for site in together.sites}
    grouped = {site: names for site, names in by_site.items() if len(names) > 1} or by_site
    if not grouped:
        raise InputError("the entries share no latent site; name what to draw with names=[...]")
    remarks = [
        f"{site}: first {_MOST_ROWS} of {len(names)} (names=[...] shows others)"
        for site, names in list(grouped.items())[:_MOST_SITES]
        if len(names) > _MOST_ROWS
    ]
    if len(grouped) > _MOST_SITES:
        remarks.append(f"first {_MOST_SITES} of {len(grouped)} sites (names=[...] shows others)")
    shown = list(grouped.values())[:_MOST_SITES]
    return [name for names in shown for name in names[:_MOST_ROWS]], remarks


def _lines(panels: Mapping[str, Sequence[Any]]) -> list[list[str]]:
    """Return which sites stand side by side: those with as many rows, the most rows first."""
    by_count: dict[int, list[str]] = {}
    for site, rows in panels.items():
        by_count.setdefault(len(rows), []).append(site)
    return [
        sites[i : i + _COLUMNS]
        for _, sites in sorted(by_count.items(), reverse=True)
        for i in range(0, len(sites), _COLUMNS)
    ]


def _site(name: str) -> str:
    return name.partition("[")[0]


def _draw_site(
    axes: Any,
    site: str,
    rows: Sequence[ShownScalar],
    together: SideBySide,
    looks: Sequence[Look],
    sort: bool,
    characters: int,
) -> None:
    """Draw one site's rows from the top down, in one unit."""
    columns = [[together.columns[look.name][row.name] for look in looks] for row in rows]
    unit = prepare(site, np.concatenate([c for row in columns for c in row]), None)
    # (rows, entries, quantiles), in the unit of the axis.
    levels = np.array([[np.quantile(unit.in_unit(c), _QUANTILES) for c in row] for row in columns])
    count = len(rows)
    order: list[int] = (np.argsort(-levels[:, -1, 2]) if sort else np.arange(count)).tolist()
    places = np.arange(count)[::-1]
    step = _ENTRY / (_ROW + _ENTRY * len(looks))
    for i, look in enumerate(looks):
        low, lower, middle, upper, high = levels[order, i].T
        at = places + step * (0.5 * (len(looks) - 1) - i)
        axes.hlines(at, low, high, color=look.colour, linewidth=0.8, linestyle=look.line)
        axes.hlines(at, lower, upper, color=look.colour, linewidth=2.4)
        axes.plot(
            middle,
            at,
            look.marker,
            markersize=3.2,
            color=look.colour,
            markerfacecolor="white",
            markeredgewidth=0.8,
        )
    truths = [_in_unit(rows[row], unit) for row in order]
    for place, truth in zip(places, truths, strict=True):
        if truth is not None:
            axes.plot([truth, truth], [place - 0.42, place + 0.42], **TRUTH)
    axes.set_ylim(-0.7, count - 0.3)
    labels = [rows[row].name.removeprefix(site) for row in order]
    if labels == [""]:
        axes.set_yticks([])
    else:
        axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_title(axis_label(site, "", characters))
    axes.set_xlabel(unit.unit)
    axes.grid(axis="y", color="#dddddd", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(_locator())


def _in_unit(row: ShownScalar, unit: ShownScalar) -> float | None:
    """Return a row's truth, which is in the row's own unit, in that of the panel."""
    if row.truth is None:
        return None
    value = 10.0**row.truth if row.unit == LOGARITHM else row.truth * row.scale + row.offset
    there = float(unit.in_unit(np.array(value)))
    return there if math.isfinite(there) else None


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, min_n_ticks=2)


def _put_legend(figure: Any, looks: Sequence[Look], with_truth: bool) -> None:
    from matplotlib.lines import Line2D

    handle: Any = Line2D
    handles = [
        handle(
            [],
            [],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=3.2,
            markerfacecolor="white",
            label=axis_text(look.name),
        )
        for look in looks
    ]
    if with_truth:
        handles.append(handle([], [], label="truth", **TRUTH))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
