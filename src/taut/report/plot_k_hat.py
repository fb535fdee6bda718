"""How hard the posterior is for the guide: the Pareto k-hat of each scalar and of all weights."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.report.fitted import Fitted, guide_words
from taut.report.plot_style import (
    BLUE,
    PAGE_WIDTH,
    VERMILLION,
    axis_text,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)

UNKNOWN = (
    "k-hat is not known: the fit was made without checks, or loaded without the model and data "
    "that it needs (taut.load(path, model, ...))"
)
_READING = (
    "Pareto k-hat: above 0.7 the guide alone cannot be relied on, and trust rests on the "
    "correction of its draws"
)
_LIMIT = 30
_ROW = 0.17  # inches
_GOOD, _RELIABLE, _MEAN = 0.5, 0.7, 1.0
_ALL = "all weights"
_AMBER = "#e69f00"
_Zone = tuple[float, str, str, str]
# Colour, marker, and what it means, from below.
_BELOW = (
    (_GOOD, BLUE, "o", "below 0.5: good"),
    (_RELIABLE, _AMBER, "s", "below 0.7: usable"),
)
_ABOVE = (math.inf, VERMILLION, "X", "above 0.7: weights alone do not mend it")
_EXCUSED = (math.inf, _AMBER, "D", "above 0.7: not held against this fit")


def draw_k_hat(fit: Fitted) -> Any:
    """Draw the k-hats; see `Plots.k_hat`."""
    table = fit.summary()
    shapes = {name: table[name]["k_hat"] for name in table}
    known = {name: value for name, value in shapes.items() if not math.isnan(value)}
    if not known and math.isnan(fit.k_hat):
        raise InputError(UNKNOWN)
    worst = sorted(known, key=lambda name: -known[name])[:_LIMIT]
    rows = [(_ALL, fit.k_hat)] if not math.isnan(fit.k_hat) else []
    rows += [(name, known[name]) for name in worst]
    excuse = _excuse(fit)
    remarks = [] if len(worst) == len(known) else [f"the {_LIMIT} highest of {len(known)} values"]
    with default_look():
        title = title_lines(
            [
                f"{guide_words(fit)}, trust: {fit.trust}",
                excuse or _READING,
                *remarks,
            ],
            PAGE_WIDTH,
        )
        height = title_height(title) + _ROW * len(rows) + 0.75
        figure = new_figure(PAGE_WIDTH, height)
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - title_height(title) / height))
        put_title(figure, title)
        axes = figure.subplots()
        _draw_rows(axes, rows, (*_BELOW, _EXCUSED if excuse else _ABOVE))
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _excuse(fit: Fitted) -> str:
    """Say why a high k-hat of all weights was not held against the fit, if it was not."""
    if not fit.k_hat > _RELIABLE:
        return ""
    good = [f.message for f in fit.findings if f.name == "k-hat" and f.level == "good"]
    return " ".join(good)


def _draw_rows(axes: Any, rows: list[tuple[str, float]], zones: Sequence[_Zone]) -> None:
    values = np.array([value for _, value in rows])
    finite = values[np.isfinite(values)]
    low = min(0.0, float(finite.min(initial=0.0))) - 0.1
    high = max(1.0, float(finite.max(initial=0.0))) + 0.1
    places = np.arange(len(rows))[::-1]
    drawn = np.clip(values, low, high)  # minus infinity: constant weights
    below = -math.inf
    for above, colour, marker, meaning in zones:
        inside = (values >= below) & (values < above)
        axes.hlines(places[inside], low, drawn[inside], color=colour, linewidth=0.8)
        axes.scatter(
            drawn[inside],
            places[inside],
            color=colour,
            marker=marker,
            s=22,
            label=meaning,
            zorder=3,
        )
        below = above
    for limit in (_GOOD, _RELIABLE, _MEAN):
        axes.axvline(limit, color="#666666", linewidth=0.6, linestyle="--", zorder=0)
    axes.set_xlim(low, high)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_yticks(places, [axis_text(name) for name, _ in rows])
    axes.set_xlabel("Pareto k-hat")
    axes.spines[["top", "right"]].set_visible(False)
