"""The regions that hold given shares of a pair's draws, drawn as contours.

Draws often end at a bound: a scale at zero, a fraction at zero and one. Smoothing that knows
nothing of it takes draws over the bound, and the contours pull in just before they reach it. Here a
line is fitted to the density within the reach of the kernel, which is the kernel itself wherever
there is room on both sides, and is right to first order at an end (Jones 1993, Statistics and
Computing 3).
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from taut.report.plot_scalars import ShownScalar, view_of

SHARES = (0.5, 0.9)
_CELLS = 64
_SMOOTHING = 1 / 20  # of the range
_PALE = 1 / 3  # how much of the colour the outer region has


def draw_contours(
    axes: Any,
    across: ShownScalar,
    up: ShownScalar,
    x: Float[np.ndarray, " draws"],
    y: Float[np.ndarray, " draws"],
    colour: str,
    line: str = "-",
    fill: bool = False,
) -> None:
    """Draw what holds 50 % and 90 % of draws, given in the units of the axes."""
    from matplotlib.colors import to_rgb

    inside = np.isfinite(x) & np.isfinite(y)
    x, y = x[inside], y[inside]
    horizontal, vertical = _range(across, x), _range(up, y)
    density, at_draws = _density(x, y, horizontal, vertical, (across.discrete, up.discrete))
    levels = np.unique(np.quantile(at_draws, [1 - share for share in reversed(SHARES)]))
    # A rim without density closes the lines where the draws end.
    density = np.pad(density, 1)
    places = [np.pad(np.linspace(*ends, _CELLS + 1), 1, "edge") for ends in (horizontal, vertical)]
    if fill:
        pale = tuple(1 - _PALE * (1 - part) for part in to_rgb(colour))
        above = [*levels, density.max() * (1 + 1e-6)]
        colours = [pale, colour][-len(levels) :]
        axes.contourf(*places, density.T, above, colors=colours, antialiased=False)
    axes.contour(*places, density.T, levels, colors=colour, linestyles=line, linewidths=1.1)


def _range(scalar: ShownScalar, draws: np.ndarray) -> tuple[float, float]:
    """Return where these draws lie, which may be less than the axis shows."""
    low, high = view_of(draws, scalar.discrete)
    return (low, high) if low < high else scalar.view


def _density(
    x: np.ndarray,
    y: np.ndarray,
    horizontal: tuple[float, float],
    vertical: tuple[float, float],
    discrete: tuple[bool, bool],
) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth density on the corners of a grid, and at the draws themselves."""
    from scipy.ndimage import map_coordinates

    ranges = (horizontal, vertical)
    counts, _, _ = np.histogram2d(x, y, _CELLS, ranges)
    first, second = (_smoother(*pair) for pair in zip(ranges, discrete, strict=True))
    density = np.maximum(first @ counts @ second.T, 0.0)
    corners = [
        (draws - low) / (high - low) * _CELLS
        for draws, (low, high) in zip((x, y), ranges, strict=True)
    ]
    return density, map_coordinates(density, corners, order=1, cval=0.0)


def _smoother(ends: tuple[float, float], discrete: bool) -> Float[np.ndarray, "corners cells"]:
    """Return the weights of a local linear fit: from counts in cells to a density at corners."""
    low, high = ends
    width = 1.0 if discrete else _SMOOTHING * (high - low)
    corners = np.linspace(low, high, _CELLS + 1)
    away = (0.5 * (corners[1:] + corners[:-1]) - corners[:, None]) / width
    kernel = np.exp(-0.5 * away**2)
    none, one, two = ((kernel * away**power).sum(axis=1, keepdims=True) for power in range(3))
    return kernel * (two - one * away) / (two * none - one**2)
