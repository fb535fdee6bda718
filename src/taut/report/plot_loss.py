"""The loss against the work done, and where the loop decided to stop."""

import math
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
# Nats that an axis is at least high: what is lost or won below a tenth of it changes no posterior.
_LEAST = 0.2
# On one set of draws these only descend: a rise is another start, or other draws.
_DESCENTS = frozenset({"start", "natural gradient", "l-bfgs", "flow"})
_ERRORS = 2.0


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
        above = _limit_height(whole, loss[finite], _LEAST)
        gap = fit.verdict.expected_gap
        _limit_height(end, loss[late] - floor, max(_LEAST, 2 * gap if math.isfinite(gap) else 0.0))
        pad = 0.04 * (work[-1] - work[late][0]) or 1.0
        end.set_xlim(work[late][0] - pad, work[-1] + pad)
        whole.set_title(f"the whole course{above}")
        end.set_title("the end (new draws begin a new line)")
        whole.set_ylabel("loss: negative ELBO (nats)")
        end.set_ylabel("above the lowest loss here (nats)")
        for axes in (whole, end):
            axes.set_xlabel("gradient evaluations")
            axes.spines[["top", "right"]].set_visible(False)
            axes.ticklabel_format(style="plain")
            # Counts of six digits need the room of a quarter of the narrow panel.
            axes.locator_params(axis="x", nbins=6 if axes is whole else 4, integer=True)
            axes.locator_params(axis="y", nbins=6)
            _mark_stop(axes, work[-1], fit)
        _mark_level(end, fit, floor)
        labelled = {
            label: handle
            for axes in (whole, end)
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            labelled.values(), labelled.keys(), loc="outside lower center", ncols=4, frameon=False
        )
    return figure


def _draw_stages(axes: Any, work: np.ndarray, loss: np.ndarray, stage: Any) -> None:
    """Draw one line for each run of steps on the same draws."""
    looks = {name: STAGE_LOOKS[i % len(STAGE_LOOKS)] for i, name in enumerate(dict.fromkeys(stage))}
    every = max(1, len(work) // _MARKERS)
    for start, stop in _runs(loss, stage):
        name = stage[start]
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


def _runs(loss: np.ndarray, stage: Any) -> list[tuple[int, int]]:
    """Return where the steps begin and end that lines join."""
    breaks = [
        step
        for step in range(1, len(loss))
        if stage[step] != stage[step - 1]
        or (stage[step] in _DESCENTS and loss[step] > loss[step - 1])
    ]
    return list(zip([0, *breaks], [*breaks, len(loss)], strict=True))


def _limit_height(axes: Any, loss: np.ndarray, least: float) -> str:
    """Keep early huge losses from flattening the rest; return what to say of those above."""
    best = float(np.min(loss))
    heights = loss - best
    top = min(float(np.max(heights)), _TALLEST * float(np.median(heights)))
    top = max(top or float(np.max(heights)), least)
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


def _mark_level(axes: Any, fit: Fitted, floor: float) -> None:
    """Mark the loss of the fit on draws that no step has seen, which is what the steps are after.

    Losses on the draws that a guide was fitted to lie below it.
    """
    elbo, error = fit.elbo
    if not (math.isfinite(elbo) and math.isfinite(error)):
        return
    low, high = (-elbo + side * _ERRORS * error - floor for side in (-1, 1))
    bottom, top = axes.get_ylim()
    room = 0.04 * (top - bottom)
    axes.set_ylim(min(bottom, low - room), max(top, high + room))
    label = "loss of the fit on new draws, ± 2 errors"
    axes.axhspan(low, high, facecolor=GREY + "55", edgecolor=GREY, zorder=0, label=label)


def _title(fit: Fitted, broken: int) -> list[str]:
    verdict = "converged" if fit.verdict.converged else "not converged"
    sentences = [f"{guide_words(fit)}, {verdict}", f"stopped {stopped_words(fit)}"]
    if broken:
        sentences.append(f"{broken} losses were not finite and are not drawn")
    return sentences
