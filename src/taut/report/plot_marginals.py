"""Each scalar alone: its draws before those of its prior, with the median and the 90 % interval."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.report.affordable import affordable_draws
from taut.report.fitted import Fitted, guide_words
from taut.report.names import scalar_columns
from taut.report.numbers import format_short, format_to_uncertainty
from taut.report.plot_scalars import LOGARITHM, ShownScalar, choose_scalars
from taut.report.plot_style import (
    BLUE,
    GREY,
    PAGE_WIDTH,
    TRUTH,
    axis_label,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)

_LIMIT = 20
_COLUMNS = 4
_ROW = 1.55  # inches
_PRIOR_DRAWS = 20_000  # wide priors leave few draws where the posterior is
_DRAWS_PER_BIN = 100


def draw_marginals(
    fit: Fitted,
    names: str | Sequence[str] | None,
    truth: Mapping[str, Any] | None,
    prior: bool | None,
) -> Any:
    """Draw the marginals; see `Plots.marginals`."""
    scalars, remarks = choose_scalars(fit, names, truth, _LIMIT)
    before = _prior_columns(fit, prior)
    with default_look():
        columns = 3 if len(scalars) in (5, 6, 9) else min(_COLUMNS, len(scalars))
        rows = math.ceil(len(scalars) / columns)
        width = PAGE_WIDTH if columns > 2 else 4.0
        title = title_lines(_title(fit, scalars, remarks, bool(before)), width)
        height = rows * _ROW + title_height(title)
        figure = new_figure(width, height)
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - title_height(title) / height))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        characters = int(width / columns * 14)
        for axes, scalar in zip(grid, scalars, strict=False):
            _draw_one(axes, scalar, before.get(scalar.name), characters)
        for axes in grid[len(scalars) :]:
            axes.remove()
        put_title(figure, title)
    return figure


def _prior_columns(fit: Fitted, wanted: bool | None) -> dict[str, np.ndarray]:
    """Return prior draws by scalar; none if they are not wanted, or not to be had unasked."""
    if wanted is False:
        return {}
    try:
        draws = fit.prior(affordable_draws(fit, _PRIOR_DRAWS))
    except InputError:
        if wanted:
            raise
        return {}
    return {name: c for site in draws for name, c in scalar_columns(draws, site).items()}


def _draw_prior(axes: Any, scalar: ShownScalar, draws: np.ndarray) -> None:
    """Draw the prior's density where the axis shows it, in bins that hold enough draws."""
    shown = scalar.in_unit(draws)
    low, high = scalar.view
    inside = shown[(shown >= low) & (shown <= high)]
    bins = int(np.clip(len(inside) // _DRAWS_PER_BIN, 1, scalar.bins))
    counts, edges = np.histogram(inside, bins, (low, high))
    density = counts / len(shown) / np.diff(edges)
    axes.stairs(density, edges, fill=True, facecolor=GREY + "40", edgecolor="none", zorder=0)
    axes.stairs(density, edges, color=GREY, linewidth=0.9, linestyle=(0, (3, 1.5)), baseline=None)


def _draw_one(axes: Any, scalar: ShownScalar, before: np.ndarray | None, characters: int) -> None:
    low, middle, high = np.quantile(scalar.draws, (0.05, 0.5, 0.95)).tolist()
    axes.axvspan(low, high, color=BLUE, alpha=0.15, linewidth=0)
    axes.hist(
        scalar.draws,
        bins=scalar.bins,
        range=scalar.view,
        density=True,
        histtype="stepfilled",
        facecolor=BLUE + "59",
        edgecolor=BLUE,
        linewidth=0.8,
    )
    tallest = axes.get_ylim()[1]
    if before is not None:
        _draw_prior(axes, scalar, before)
        axes.set_ylim(0, tallest)
    axes.axvline(middle, color=BLUE, linewidth=1.6)
    if scalar.truth is not None:
        axes.axvline(scalar.truth, **TRUTH)
    axes.set_title(_reading(scalar, middle, low, high), fontsize=7, pad=3)
    axes.set_xlabel(axis_label(scalar.name, scalar.unit, characters))
    axes.set_xlim(scalar.view)
    axes.set_yticks([])
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(_locator(scalar.discrete))


def _reading(scalar: ShownScalar, *quantiles: float) -> str:
    """Return such as '1.10 (1.03 to 1.17)'; in the value's own unit where the axis is log10."""
    if scalar.unit == LOGARITHM:
        middle, low, high = (format_short(10.0**q) for q in quantiles)
    else:
        spread = float(np.std(scalar.draws))
        middle, low, high = format_to_uncertainty(list(quantiles), spread)
    return f"{middle} ({low} to {high})"


def _locator(discrete: bool) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, integer=discrete, min_n_ticks=2)


def _title(
    fit: Fitted, scalars: list[ShownScalar], remarks: list[str], with_prior: bool
) -> list[str]:
    reading = "line and number: median; band and range: 5% to 95%"
    if with_prior:
        reading += "; grey behind: prior"
    if any(scalar.truth is not None for scalar in scalars):
        reading += "; black dashes: truth"
    return [f"{guide_words(fit)}, trust: {fit.trust}", reading, *remarks]
