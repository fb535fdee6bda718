"""The losses of a stochastic run: every step, their smoothed course, and why the run stopped.

A single loss is an estimate from a few draws, and its noise hides what is still being gained. The
course is the median of each of a hundred stretches of steps: it follows a fall, and a few far
losses do not move it.
"""

from typing import Any

import numpy as np

from taut._core.errors import InputError
from taut.report.fitted import VerdictLike
from taut.report.plot_style import (
    BLUE,
    GREY,
    PAGE_WIDTH,
    VERMILLION,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)

_HEIGHT = 3.0
_STRETCHES = 100
_VIEW = (0.01, 0.99)  # of the last half: what the second panel shows


def draw_losses(losses: Any, verdict: VerdictLike | None) -> Any:
    """Draw the losses of a run; see `SVIRunResult.plot_losses`."""
    loss = np.asarray(losses, dtype=np.float64)
    finite = np.isfinite(loss)
    if loss.ndim != 1 or not finite.any():
        raise InputError("there is no finite loss to draw")
    step = np.arange(1, len(loss) + 1)
    sentences = ["grey: the loss of every step; blue: the median of each hundredth of the run"]
    settled = verdict is not None and verdict.converged
    if verdict is not None:
        head = f"{len(loss):,} steps, {'settled' if settled else 'not settled'}"
        sentences = [head, verdict.message, *sentences]
    skipped = int((~finite).sum())
    if skipped:
        sentences.append(f"{skipped:,} steps had no finite loss")
    with default_look():
        title = title_lines(sentences, PAGE_WIDTH)
        height = _HEIGHT + title_height(title)
        figure = new_figure(PAGE_WIDTH, height)
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - title_height(title) / height))
        put_title(figure, title)
        whole, end = figure.subplots(1, 2, width_ratios=(3, 2))
        places, course = _course(step[finite], loss[finite])
        half = len(loss) // 2
        for axes in (whole, end):
            axes.plot(step, loss, ".", color=GREY, markersize=1.5, alpha=0.4, rasterized=True)
            axes.plot(places, course, color=BLUE, linewidth=1.6)
            axes.set_xlabel("step")
            axes.spines[["top", "right"]].set_visible(False)
            axes.locator_params(nbins=6)
        whole.set_title("the whole course")
        whole.set_ylabel("loss: negative ELBO (nats)")
        low, high = np.quantile(course, (0.0, 1.0)).tolist()
        whole.set_ylim(low - 0.1 * (high - low or 1.0), high + 0.1 * (high - low or 1.0))
        late = loss[half:][finite[half:]]
        end.set_title("the last half, which decides")
        end.set_xlim(half, len(loss) + 1)
        if len(late):
            low, high = np.quantile(late, _VIEW).tolist()
            end.set_ylim(low - 0.05 * (high - low or 1.0), high + 0.05 * (high - low or 1.0))
        whole.axvline(half, color=BLUE if settled else VERMILLION, linestyle="--", linewidth=0.8)
    return figure


def _course(step: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middles of stretches of steps, and the medians of their losses."""
    parts = min(_STRETCHES, len(loss))
    places = [float(part.mean()) for part in np.array_split(step, parts)]
    return np.array(places), np.array([np.median(p) for p in np.array_split(loss, parts)])
