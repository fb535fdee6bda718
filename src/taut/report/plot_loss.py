"""The loss against the work done, and where the loop decided to stop."""

import math
from itertools import groupby
from typing import Any

import numpy as np

from taut.report.fitted import Fitted, guide_words
from taut.report.numbers import format_short
from taut.report.plot_style import (
    GREY,
    PAGE_WIDTH,
    STAGE_LOOKS,
    VERMILLION,
    axis_text,
    default_look,
    new_figure,
    put_title,
    title_height,
    title_lines,
)
from taut.report.story import stopped_words

_HEIGHT = 3.4
_LAST = 0.3  # the second panel shows the last 30 % of the work
_TALLEST = 30.0  # an axis reaches at most this many median heights above the lowest loss
_MARKERS = 40


def draw_loss(fit: Fitted) -> Any:
    """Draw the loss; see `Plots.loss`."""
    trace = fit.trace
    work = np.asarray(trace.gradients, dtype=np.float64)
    loss = np.asarray(trace.loss, dtype=np.float64)
    finite = np.isfinite(loss)
    with default_look():
        title = title_lines(_title(fit, int(np.sum(~finite))), PAGE_WIDTH)
        height = _HEIGHT + title_height(title)
        figure = new_figure(PAGE_WIDTH, height)
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - title_height(title) / height))
        put_title(figure, title)
        whole, end = figure.subplots(1, 2, width_ratios=(3, 2))
        if not finite.any():
            for axes in (whole, end):
                axes.set_axis_off()
            whole.text(0, 0.5, "no finite loss was recorded", transform=whole.transAxes)
            return figure
        late = finite & (work >= work[-1] - _LAST * (work[-1] - work[0]))
        late = late if late.any() else finite
        # Early stages have few draws and may show a lower loss, so the end has a floor of its own.
        floor = float(np.min(loss[late]))
        _draw_stages(whole, work, loss, trace.stage)
        _draw_stages(end, work, loss - floor, trace.stage)
        above = _limit_height(whole, loss[finite])
        _limit_height(end, loss[late] - floor)
        pad = 0.04 * (work[-1] - work[late][0]) or 1.0
        end.set_xlim(work[late][0] - pad, work[-1] + pad)
        whole.set_title(f"the whole course{above}")
        end.set_title("the end")
        whole.set_ylabel("loss: negative ELBO (nats)")
        end.set_ylabel("above the lowest loss here (nats)")
        for axes in (whole, end):
            axes.set_xlabel("gradient evaluations")
            axes.spines[["top", "right"]].set_visible(False)
            axes.ticklabel_format(style="plain")
            axes.locator_params(nbins=6)
            _mark_stop(axes, work[-1], fit)
        handles, labels = whole.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(
            unique.values(), unique.keys(), loc="outside lower center", ncols=5, frameon=False
        )
    return figure


def _draw_stages(axes: Any, work: np.ndarray, loss: np.ndarray, stage: Any) -> None:
    """Draw one line for each run of steps in one stage; stages use other draws, so lines end."""
    looks = {name: STAGE_LOOKS[i % len(STAGE_LOOKS)] for i, name in enumerate(dict.fromkeys(stage))}
    every = max(1, len(work) // _MARKERS)
    start = 0
    for name, steps in groupby(stage):
        stop = start + len(list(steps))
        colour, marker = looks[name]
        axes.plot(
            work[start:stop],
            loss[start:stop],
            color=colour,
            marker=marker,
            markersize=3.5,
            markevery=every,
            label=axis_text(name),
        )
        start = stop


def _limit_height(axes: Any, loss: np.ndarray) -> str:
    """Keep early huge losses from flattening the rest; return what to say of those above."""
    best = float(np.min(loss))
    heights = loss - best
    top = min(float(np.max(heights)), _TALLEST * float(np.median(heights)))
    top = top or float(np.max(heights)) or 1.0
    axes.set_ylim(best - 0.06 * top, best + 1.06 * top)
    above = loss[heights > 1.06 * top]
    if not len(above):
        return ""
    return f" ({len(above)} of {len(loss)} losses lie above, up to {format_short(above.max())})"


def _mark_stop(axes: Any, where: float, fit: Fitted) -> None:
    colour, style = (GREY, "--") if fit.verdict.converged else (VERMILLION, ":")
    gap = fit.verdict.expected_gap
    told = "unknown" if math.isnan(gap) else f"{format_short(gap)} nats"
    label = f"stopped, expected gap {told}"
    axes.axvline(where, color=colour, linestyle=style, linewidth=1.2, zorder=0, label=label)


def _title(fit: Fitted, broken: int) -> list[str]:
    verdict = "converged" if fit.verdict.converged else "not converged"
    sentences = [f"{guide_words(fit)}, {verdict}", f"stopped {stopped_words(fit)}"]
    if broken:
        sentences.append(f"{broken} losses were not finite and are not drawn")
    return sentences
