"""The corner plots of several posteriors over each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError, MissingExtraError
from taut.report.names import scalar_columns, scalar_names, unknown_name
from taut.report.plot_style import (
    PAGE_WIDTH,
    STAGE_LOOKS,
    axis_text,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)

_LIMIT = 8
_VIEW = (0.002, 0.998)
_WIDEST, _MARGIN, _RIGHT = 1.7, 0.75, 0.12
_LINES = ("-", "--", ":", "-.")
_BINS = 30
DRAWS = 4000


def draw_overlay(
    entries: Mapping[str, Any],
    names: str | Sequence[str] | None,
    truth: Mapping[str, Any] | None,
) -> Any:
    """Draw the overlaid corner plot; see `Comparison.corner`."""
    try:
        import corner
        from matplotlib.lines import Line2D
    except ImportError:
        raise MissingExtraError("corner", "plot") from None
    draws = {name: _columns(entry) for name, entry in entries.items()}
    first = next(iter(entries.values()))
    shared = [c for c in next(iter(draws.values())) if all(c in d for d in draws.values())]
    chosen = _choose(names, first, shared)
    looks = [
        (colour, _LINES[i % len(_LINES)])
        for i, (colour, _) in enumerate(STAGE_LOOKS * (1 + len(entries) // len(STAGE_LOOKS)))
    ]
    panel = min((PAGE_WIDTH - _MARGIN - _RIGHT) / len(chosen), _WIDEST)
    width = max(_MARGIN + _RIGHT + panel * len(chosen), 4.0)
    truths = [_truth(truth or {}, name) for name in chosen]
    with default_look():
        title = title_lines(["contours hold 50% and 90% of the draws"], width)
        height = width + title_height(title)
        figure = new_figure(width, height, layout=None)
        for (_, columns), (colour, style) in zip(draws.items(), looks, strict=False):
            corner.corner(
                np.column_stack([columns[name] for name in chosen]),
                fig=figure,
                bins=_BINS,
                range=_views(draws, chosen),
                labels=[axis_text(name) for name in chosen],
                color=colour,
                levels=(0.5, 0.9),
                smooth=1.0,
                plot_density=False,
                plot_datapoints=False,
                fill_contours=False,
                quiet=True,
                truths=truths if any(t is not None for t in truths) else None,
                truth_color="black",
                hist_kwargs={"linewidth": 1.1, "linestyle": style, "density": True},
                contour_kwargs={"linewidths": 1.1, "linestyles": style},
            )
        figure.subplots_adjust(
            left=_MARGIN / width,
            right=1 - _RIGHT / width,
            bottom=_MARGIN / height,
            top=1 - title_height(title) / height,
            wspace=0.06,
            hspace=0.06,
        )
        _grow_histograms(figure, len(chosen))
        handle: Any = Line2D
        handles = [
            handle([], [], color=colour, linestyle=style, label=axis_text(name))
            for name, (colour, style) in zip(entries, looks, strict=False)
        ]
        figure.legend(handles=handles, loc="upper right", frameon=False)
        put_title(figure, title)
    return figure


def _columns(entry: Any) -> dict[str, np.ndarray]:
    draws = entry if isinstance(entry, Mapping) else entry.sample(DRAWS)
    return {
        name: _spread(np.asarray(column, float))
        for site in draws
        for name, column in scalar_columns(draws, site).items()
    }


def _spread(column: np.ndarray) -> np.ndarray:
    # From end to end, because neighbours in a chain are alike.
    return column[:: -(-len(column) // DRAWS)]


def _choose(names: str | Sequence[str] | None, first: Any, shared: Sequence[str]) -> list[str]:
    if names is None:
        sites = getattr(first, "sites", None)
        latent = [name for name in shared if sites is None or name.split("[")[0] in sites]
        return latent[:_LIMIT]
    wanted = [names] if isinstance(names, str) else list(names)
    found = {name: [c for c in shared if c == name or c.split("[")[0] == name] for name in wanted}
    problems = [
        unknown_name(name, shared, "names") for name, scalars in found.items() if not scalars
    ]
    if problems:
        raise InputError(problems)
    return [*dict.fromkeys(scalar for scalars in found.values() for scalar in scalars)]


def _views(
    draws: Mapping[str, dict[str, np.ndarray]], chosen: Sequence[str]
) -> list[tuple[float, float]]:
    views = []
    for name in chosen:
        ends = np.array([np.quantile(columns[name], _VIEW) for columns in draws.values()])
        low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
        pad = 0.05 * (high - low) or 0.5
        views.append((low - pad, high + pad))
    return views


def _truth(truth: Mapping[str, Any], name: str) -> float | None:
    if name in truth:
        return float(truth[name])
    site = name.split("[")[0]
    if site not in truth:
        return None
    array = np.asarray(truth[site], float)
    by_name = dict(zip(scalar_names(site, array.shape), array.ravel().tolist(), strict=True))
    return by_name.get(name)


def _grow_histograms(figure: Any, count: int) -> None:
    """Make room for the tallest histogram of each diagonal panel: corner fits the last one."""
    for i in range(count):
        axes = figure.axes[i * (count + 1)]
        tops = [path.get_xy()[:, 1].max() for path in axes.patches if hasattr(path, "get_xy")]
        if tops:
            axes.set_ylim(0, 1.1 * max(tops))
