"""The predictive check: would the fitted model produce data like those observed?

Replicates are drawn at the arguments of the fit. On the left the distribution of all observations
of a site is held against that of its replicates; on the right each observation against its own
predictive interval. Gelman, Meng and Stern (1996), Statistica Sinica 6.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.report.affordable import affordable_draws
from taut.report.fitted import Fitted, guide_words
from taut.report.names import unknown_name
from taut.report.plot_style import (
    BLUE,
    PAGE_WIDTH,
    VERMILLION,
    axis_label,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)

NOTHING = "the fit has no observed data to hold predictions against"
_DRAWS = 1000
_SITES = 4
_ROW = 2.3  # inches
_MOST_SHOWN = 60
_BINS = (8, 40)
_MOST_LEVELS = 30


def draw_predictive(fit: Fitted, names: str | Sequence[str] | None, against: Any | None) -> Any:
    """Draw the predictive check; see `Plots.predictive`."""
    observed, remarks = _choose(fit, names)
    made = fit.predict(draws=affordable_draws(fit, _DRAWS))
    undrawn = [name for name in observed if name not in made]
    if undrawn:
        raise InputError(f"the model does not draw {', '.join(undrawn)} in this call")
    places = None if against is None else _places(observed, against)
    with default_look():
        title = title_lines(
            [
                f"{guide_words(fit)}, trust: {fit.trust}",
                "black: data; blue: predicted, with median, 50% and 90%; orange crosses: data "
                "outside their 90%",
                *remarks,
            ],
            PAGE_WIDTH,
        )
        height = _ROW * len(observed) + title_height(title)
        figure = new_figure(PAGE_WIDTH, height)
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - title_height(title) / height))
        put_title(figure, title)
        grid = figure.subplots(len(observed), 2, squeeze=False, width_ratios=(2, 3))
        for (whole, single), (name, data) in zip(grid, observed.items(), strict=True):
            replicates = np.asarray(made[name], np.float64)
            replicates = replicates.reshape(len(replicates), -1)
            values = np.asarray(data, np.float64).ravel()
            kept = np.isfinite(values) & np.isfinite(replicates).all(axis=0)
            where = np.arange(len(values)) if places is None else places
            _draw_distribution(whole, name, values[kept], replicates[:, kept])
            _draw_intervals(single, name, values[kept], replicates[:, kept], where[kept])
            if places is None:
                single.set_xlabel("observation")
    return figure


def _choose(
    fit: Fitted, names: str | Sequence[str] | None
) -> tuple[Mapping[str, np.ndarray], list[str]]:
    observed = {n: v for n, v in fit.observed.items() if np.size(v)}
    if not observed:
        raise InputError(NOTHING)
    if names is None:
        chosen = list(observed)[:_SITES]
        left = len(observed) - len(chosen)
        remarks = [f"first {_SITES} of {len(observed)} observed sites"] if left else []
        return {name: observed[name] for name in chosen}, remarks
    wanted = [names] if isinstance(names, str) else list(names)
    problems = [unknown_name(name, observed, "names") for name in wanted if name not in observed]
    if problems:
        raise InputError(problems)
    return {name: observed[name] for name in wanted}, []


def _places(observed: Mapping[str, np.ndarray], against: Any) -> np.ndarray:
    """Return one place on the axis for each observation, the same for all sites."""
    along = np.asarray(against, np.float64)
    shapes = {np.shape(value) for value in observed.values()}
    for shape in shapes:
        if shape[: along.ndim] != along.shape or len(shapes) > 1:
            listed = ", ".join(f"{name!r} {np.shape(v)}" for name, v in observed.items())
            raise InputError(
                f"against has shape {along.shape}, and the observed sites have: {listed}; give one "
                "value for each observation, and names= to choose a site"
            )
    shape = next(iter(shapes))
    return np.broadcast_to(
        along.reshape(along.shape + (1,) * (len(shape) - along.ndim)), shape
    ).ravel()


def _draw_distribution(axes: Any, name: str, values: np.ndarray, replicates: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    edges = _edges(values, replicates)
    widths = np.diff(edges)
    counts = np.array([np.histogram(row, edges)[0] for row in replicates])
    density = counts / len(values) / widths
    for low, high, strength in ((0.05, 0.95, "33"), (0.25, 0.75, "59")):
        below, above = np.quantile(density, (low, high), axis=0)
        axes.stairs(above, edges, baseline=below, fill=True, color=BLUE + strength)
    axes.stairs(np.median(density, axis=0), edges, color=BLUE, baseline=None)
    data = np.histogram(values, edges)[0] / len(values) / widths
    axes.stairs(data, edges, color="black", linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(axis_label(name, "", 34))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=bool(np.all(values % 1 == 0))))
    axes.set_yticks([])
    axes.set_title(f"all {len(values):,} together", fontsize=7, pad=3)
    axes.spines[["top", "left", "right"]].set_visible(False)


def _edges(values: np.ndarray, replicates: np.ndarray) -> np.ndarray:
    """Return bin edges that hold the data and 99 % of the replicates."""
    low, high = np.quantile(replicates, (0.005, 0.995))
    low, high = float(min(low, values.min())), float(max(high, values.max()))
    if np.all(values == np.round(values)) and high - low < _MOST_LEVELS:
        return np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
    if high == low:
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(2 * np.sqrt(len(values)), *_BINS))
    return np.linspace(low, high, bins + 1)


def _draw_intervals(
    axes: Any, name: str, values: np.ndarray, replicates: np.ndarray, where: np.ndarray
) -> None:
    from matplotlib.ticker import MaxNLocator

    lowest, low, middle, high, highest = np.quantile(
        replicates, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0
    )
    outside = (values < lowest) | (values > highest)
    inside = np.sum(~outside)
    shown = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_SHOWN)).astype(int))
    x = where[shown]
    axes.vlines(x, lowest[shown], highest[shown], color=BLUE, alpha=0.5, linewidth=1.2)
    axes.vlines(x, low[shown], high[shown], color=BLUE, linewidth=3.0, alpha=0.6)
    axes.plot(x, middle[shown], linestyle="none", marker="_", color=BLUE, markersize=5)
    fine, odd = shown[~outside[shown]], shown[outside[shown]]
    axes.plot(where[fine], values[fine], "o", color="black", markersize=2.8)
    axes.plot(where[odd], values[odd], "X", color=VERMILLION, markersize=5.5)
    share = 100 * inside / max(len(values), 1)
    some = "" if len(shown) == len(values) else f"; {len(shown)} shown"
    axes.set_title(
        f"{inside:,} of {len(values):,} ({share:.0f}%) lie in their 90% interval{some}",
        fontsize=7,
        pad=3,
    )
    axes.set_ylabel(axis_label(name, "", 22))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=bool(np.all(x == np.round(x)))))
    axes.spines[["top", "right"]].set_visible(False)
