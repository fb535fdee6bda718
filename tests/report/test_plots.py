"""The plots: what they show, what they say, and that nothing overlaps."""

import dataclasses
import itertools
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.path import Path as MplPath
from matplotlib.text import Text

from taut._core.errors import InputError, MissingExtraError
from taut.report.plot_losses import draw_losses
from taut.report.plot_style import STAGE_LOOKS, TRUTH
from taut.report.plots import Plots

mpl.use("agg")
DRAWS = 1000


def plots_of(draws, fit_of):
    fit = dataclasses.replace(fit_of(1), posterior=draws, sites=tuple(draws))
    return Plots(fit)


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


def panels(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def vertical_lines(axes):
    return [
        float(line.get_xdata()[0])
        for line in axes.lines
        if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]
    ]


def drawn_texts(figure):
    """All texts that are drawn; ticks outside an axis are not."""
    figure.draw_without_rendering()
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            places = zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
            texts += [label for label, place in places if ends[0] <= place <= ends[1]]
    return texts


def assert_no_overlap(figure, texts, others=()):
    """No text lies over another or over one of `others`, and all are on the page."""
    figure.draw_without_rendering()
    boxes, more = (
        [(t.get_text(), t.get_window_extent()) for t in group if t.get_text().strip()]
        for group in (texts, others)
    )
    page = figure.bbox
    for name, box in (*boxes, *more):
        assert min(box.x0, box.y0) >= 0, name
        assert box.x1 <= page.x1, name
        assert box.y1 <= page.y1, name
    for (one, a), (other, b) in (
        *itertools.combinations(boxes, 2),
        *itertools.product(boxes, more),
    ):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{one!r} lies over {other!r}"


@pytest.fixture
def many(fit_of):
    rng = np.random.default_rng(0)
    draws = {
        "date_of_the_first_transit": 2456789.123 + 0.005 * rng.normal(size=DRAWS),
        "tiny": 1e-9 * rng.normal(size=DRAWS),
        "distance": 1e16 * rng.normal(3, 1, DRAWS),
        "constant": np.full(DRAWS, 0.1),
        "count": rng.poisson(3, DRAWS),
        "half$x$": np.abs(rng.normal(size=DRAWS)),
        "broken": np.where(np.arange(DRAWS) == 7, np.nan, 1.0),
        "long_tail": np.exp(2 * rng.normal(size=DRAWS)),
        "slope_of_every_group": rng.normal(size=(DRAWS, 2)),
    }
    return plots_of(draws, fit_of)


@pytest.mark.parametrize(
    ("kind", "scalars"),
    [
        *itertools.product(["loss", "corner", "marginals"], [1, 2, 5, 20]),
        *itertools.product(["pairs", "k_hat", "predictive"], [2, 5, 20]),
    ],
)
def test_each_is_a_figure_that_pyplot_does_not_hold(fit_of, kind, scalars):
    before = dict(mpl.rcParams)
    figure = getattr(Plots(fit_of(scalars)), kind)()
    assert isinstance(figure, Figure)
    picture, size = figure._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert size["width"] <= 750
    assert dict(mpl.rcParams) == before
    assert not plt.get_fignums()


def test_the_users_own_style_is_left_out(fit):
    with mpl.rc_context({"text.color": "white", "axes.facecolor": "black", "text.usetex": True}):
        figure = Plots(fit).marginals()
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert all(text.get_color() == "black" for text in figure.findobj(Text))
    assert figure.axes[0].get_facecolor() == (1, 1, 1, 1)


def test_loss_shows_stages_and_the_decision(fit):
    figure = Plots(fit).loss()
    whole, end = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:4] == ["start", "natural gradient", "l-bfgs", "polish"]
    assert labels[4] == "stopped, expected gap 0.013 nats"
    markers = {line.get_marker() for line in whole.lines if line.get_label() in labels[:4]}
    assert len(markers) == 4
    last = fit.trace.gradients[-1]
    assert last in vertical_lines(whole)
    assert last in vertical_lines(end)
    assert fit.verdict.message in words(figure)
    assert_no_overlap(figure, drawn_texts(figure))


def test_huge_early_losses_do_not_flatten_the_rest(fit):
    whole, end = Plots(fit).loss().axes
    low, high = whole.get_ylim()
    loss = fit.trace.loss
    above = int(np.sum(loss > high))
    assert high < 200 < loss.max()
    assert low < loss.min()
    assert f"{above} of {len(loss)} losses lie above" in whole.get_title()
    assert end.get_xlim()[0] > fit.trace.gradients[len(loss) // 2]
    assert end.get_ylim()[1] < 1.0
    assert end.get_ylim()[0] < 0


def ended_with(fit, loss, stage):
    """A fit whose steps end so, sixty gradients each."""
    count = len(loss)
    steps = dataclasses.replace(
        fit.trace,
        gradients=60 * np.arange(1, count + 1),
        loss=np.array(loss),
        stage=[stage] * count,
    )
    return dataclasses.replace(fit, trace=steps, elbo=(-loss[-1], 0.01))


def test_the_noise_of_new_draws_does_not_look_like_a_blow_up(fit_of):
    losses = [3.0, 2.5, *np.linspace(1.03, 1.0, 20), 1.03]
    _, end = Plots(ended_with(fit_of(2), losses, "flow")).loss().axes
    low, high = end.get_ylim()
    assert high - low > 5 * 0.03
    # New draws begin a line of their own: nothing rises.
    joined = [line.get_ydata() for line in end.lines if len(line.get_xdata()) > 2]
    assert len(joined) == 1
    assert np.diff(joined[0]).max() < 0
    lone = [line for line in end.lines if len(line.get_xdata()) == 1]
    assert [float(line.get_ydata()[0]) for line in lone] == [pytest.approx(0.03)]


def test_the_band_is_the_loss_on_new_draws(fit_of):
    fit = ended_with(fit_of(2), [3.0, 2.0, 1.0, 1.0, 1.0, 1.0], "flow")
    figure = Plots(dataclasses.replace(fit, elbo=(-1.5, 0.1))).loss()
    _, end = figure.axes
    (band,) = end.patches
    assert band.get_y() == pytest.approx(0.3)
    assert band.get_height() == pytest.approx(0.4)
    assert end.get_ylim()[1] > 0.7
    assert "loss of the fit on new draws, ± 2 errors" in words(figure)
    unknown = Plots(dataclasses.replace(fit, elbo=(np.nan, np.nan))).loss()
    assert "new draws, " not in words(unknown)


def test_steps_on_draws_of_their_own_stay_joined(fit_of):
    _, end = Plots(ended_with(fit_of(2), [1.0, 1.2] * 8, "polish")).loss().axes
    assert len([line for line in end.lines if len(line.get_xdata()) > 2]) == 1


def test_nothing_is_said_to_be_clipped_when_nothing_is(fit_of):
    fit = fit_of(5)
    gentle = dataclasses.replace(fit.trace, loss=np.linspace(130.0, 120.0, 60))
    whole, _ = Plots(dataclasses.replace(fit, trace=gentle)).loss().axes
    assert whole.get_title() == "the whole course"
    assert whole.get_ylim()[1] > 130


def test_losses_that_are_not_finite_are_counted(fit_of, verdict):
    fit = fit_of(5, verdict=verdict(False, "non-finite loss", "the loss became NaN at step 60"))
    loss = fit.trace.loss.copy()
    loss[-2:] = np.nan, np.inf
    trace = dataclasses.replace(fit.trace, loss=loss)
    text = words(Plots(dataclasses.replace(fit, trace=trace)).loss())
    assert "2 losses were not finite and are not drawn" in text
    assert "expected gap unknown" in text
    assert "not converged" in text


@pytest.mark.parametrize("steps", [0, 1])
def test_a_fit_that_hardly_ran_still_has_a_plot(fit_of, steps):
    fit = fit_of(5)
    short = {
        field.name: getattr(fit.trace, field.name)[:steps]
        for field in dataclasses.fields(fit.trace)
    }
    figure = Plots(dataclasses.replace(fit, trace=dataclasses.replace(fit.trace, **short))).loss()
    figure.draw_without_rendering()
    assert ("no finite loss was recorded" in words(figure)) == (steps == 0)


def test_corner_takes_the_first_eight_and_says_so(fit_of):
    figure = Plots(fit_of(20)).corner()
    assert len(figure.axes) == 64
    assert "first 8 of 20 values" in words(figure)
    bottom = [axes.get_xlabel() for axes in figure.axes[-8:]]
    assert bottom[:2] == ["theta", "b_perp"]
    assert bottom[-1] == "slope[2]"


def test_corner_takes_sites_and_scalars_by_name(fit_of):
    figure = Plots(fit_of(9)).corner(names=["slope[3]", "theta", "slope"])
    bottom = [axes.get_xlabel() for axes in figure.axes[-5:]]
    assert bottom == ["slope[3]", "theta", "slope[0]", "slope[1]", "slope[2]"]
    assert "first" not in words(figure)
    assert len(Plots(fit_of(9)).corner(names="theta").axes) == 1


def test_latents_are_the_default_and_deterministics_go_by_name(fit_of):
    fit = fit_of(3)
    with_more = {"rate": fit.posterior["theta"] * 2, **fit.posterior}
    plots = Plots(dataclasses.replace(fit, posterior=with_more))
    assert "rate" not in words(plots.marginals())
    assert "rate" in words(plots.marginals(names=["rate"]))


@pytest.mark.parametrize("kind", ["corner", "marginals"])
def test_truths_are_in_view(fit_of, kind):
    fit = fit_of(7)
    truth = {"theta": 1.4, "slope": np.array([0.5, -0.5]), "mode": 0}
    figure = getattr(Plots(fit), kind)(names=["theta", "slope", "mode"], truth=truth)
    axes = figure.axes[:: 5 if kind == "corner" else 1]
    for panel, value in zip(axes, (1.4, 0.5, -0.5, 0.0), strict=True):
        assert value in vertical_lines(panel)
        assert panel.get_xlim()[0] < value < panel.get_xlim()[1]
    assert "truth" in words(figure)


@pytest.mark.parametrize("kind", ["corner", "marginals"])
def test_awkward_scalars(many, kind):
    draw = getattr(many, kind)
    figure = draw(names=list(many.fit.posterior), truth={"tiny": 1.0, "count": 9})
    text = words(figure)
    assert "left out, every draw is the same: constant" in text
    assert "left out, some draws are not finite: broken" in text
    assert "truth far outside the view: tiny" in text
    assert "\N{MINUS SIGN} 2456789" in text
    assert "/ 1e16" in text
    assert "long_tail\n(log10)" in text
    assert r"half\$x\$" in text
    figure.draw_without_rendering()
    assert 9.0 in [x for axes in figure.axes for x in vertical_lines(axes)]


def test_marginals_mark_median_and_interval(fit):
    figure = Plots(fit).marginals(names="theta")
    (axes,) = panels(figure)
    low, middle, high = np.quantile(fit.posterior["theta"], (0.05, 0.5, 0.95))
    assert vertical_lines(axes) == [pytest.approx(middle, rel=1e-14)]
    assert axes.get_title() == f"{middle:.3f} ({low:.3f} to {high:.3f})"
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (band.x0, band.x1) == (pytest.approx(low), pytest.approx(high))


def test_a_log_axis_still_reads_in_the_values_own_unit(many):
    (axes,) = panels(many.marginals(names="long_tail"))
    middle = np.median(many.fit.posterior["long_tail"])
    assert float(axes.get_title().split()[0]) == pytest.approx(middle, rel=0.06)
    assert axes.get_xlim()[1] < 5


@pytest.mark.parametrize("scalars", [1, 3, 5, 20])
def test_no_label_of_the_marginals_overlaps(fit_of, scalars):
    figure = Plots(fit_of(scalars)).marginals(truth={"theta": 1.1})
    assert_no_overlap(figure, drawn_texts(figure))


@pytest.mark.parametrize("scalars", [1, 2, 5, 20])
def test_no_name_of_the_corner_overlaps(fit_of, scalars):
    fit = fit_of(scalars)
    names = {f"{name}_of_the_outer_disc": draws for name, draws in fit.posterior.items()}
    figure = Plots(dataclasses.replace(fit, posterior=names, sites=tuple(names))).corner()
    side = round(len(figure.axes) ** 0.5)
    left, bottom = figure.axes[side::side], figure.axes[-side:]
    labels = [*(axes.yaxis.label for axes in left), *(axes.xaxis.label for axes in bottom)]
    ticks = [t for axes in left for t in axes.get_yticklabels()]
    ticks += [t for axes in bottom for t in axes.get_xticklabels()]
    # Slanted tick labels stand side by side, so their boxes may overlap each other.
    assert_no_overlap(figure, [*figure.texts, *labels], ticks)


def outlines(axes):
    """The contours of a panel from the outer to the inner, each as its points."""
    (lines,) = (
        c for c in axes.collections if type(c).__name__ == "QuadContourSet" and not c.filled
    )
    return [path.vertices for path in lines.get_paths()]


def test_contours_hold_the_share_they_say(fit_of):
    rng = np.random.default_rng(1)
    x = rng.normal(size=4000)
    # A ridge narrower than any kernel that suits the axes.
    draws = {"x": x, "y": x + 0.05 * rng.normal(size=4000), "scale": rng.gamma(2.0, size=4000)}
    figure = plots_of(draws, fit_of).corner()
    for first, second, panel in (("x", "y", 3), ("x", "scale", 6)):
        points = np.column_stack([draws[first], draws[second]])
        outer = MplPath(outlines(figure.axes[panel])[0])
        assert outer.contains_points(points).mean() == pytest.approx(0.9, abs=0.01)


def test_contours_end_at_a_bound_as_wide_as_they_are_beside_it(fit_of):
    rng = np.random.default_rng(2)
    draws = {"scale": np.abs(rng.normal(size=4000)), "free": rng.normal(size=4000)}
    panel = plots_of(draws, fit_of).corner().axes[2]
    outer = outlines(panel)[0]
    width = [np.ptp(outer[(outer[:, 0] >= a) & (outer[:, 0] < a + 0.1), 1]) for a in (0.0, 0.2)]
    # In truth 4.20 and 4.18; the outline of 4000 draws is known to a tenth or so.
    assert width[0] > 0.95 * width[1]
    assert outer[:, 0].min() == pytest.approx(draws["scale"].min())


def test_contours_keep_away_from_a_bound_where_there_is_no_mass(fit_of):
    rng = np.random.default_rng(3)
    draws = {"scale": rng.gamma(3.0, size=4000), "free": rng.normal(size=4000)}
    outer = outlines(plots_of(draws, fit_of).corner().axes[2])[0]
    # Nine tenths of the mass are where the density is above 0.0111, from a scale of 0.30 on.
    assert outer[:, 0].min() == pytest.approx(0.3, abs=0.15)


def test_the_bin_at_a_bound_is_as_full_as_its_neighbours(fit_of):
    draws = {"share": np.random.default_rng(4).uniform(size=4000)}
    (axes,) = panels(plots_of(draws, fit_of).marginals())
    heights = np.histogram(draws["share"], bins=32, range=axes.get_xlim())[0]
    # 125 in each, with an error of 11.
    assert heights[[0, -1]].min() > 125 - 5 * 11


def test_no_series_has_the_look_of_the_truth():
    assert TRUTH["color"] not in ("#000000", *(colour for colour, _ in STAGE_LOOKS))
    assert "#000000" not in [colour for colour, _ in STAGE_LOOKS]
    assert len(dict(STAGE_LOOKS)) == len(STAGE_LOOKS)


@pytest.mark.parametrize("kind", ["corner", "marginals", "forest"])
def test_a_truth_is_drawn_in_black_dashes(fit_of, kind):
    fit = fit_of(12)
    names = ["slope"] if kind == "forest" else ["theta"]
    truth = {"slope": np.zeros(7), "theta": 1.1}
    figure = getattr(Plots(fit), kind)(names, truth={name: truth[name] for name in names})
    looks = {(line.get_color(), line.get_linestyle()) for a in figure.axes for line in a.lines}
    assert ("black", "--") in looks
    assert [look for look in looks if look[0] == "black"] == [("black", "--")]


def test_mistakes_are_told_at_once(fit):
    plots = Plots(fit)
    with pytest.raises(InputError, match="did you mean 'theta'") as told:
        plots.corner(names=["thta", "nonsense"])
    assert "'nonsense'" in str(told.value)
    with pytest.raises(InputError, match="truth: no site or scalar is called 'thta'"):
        plots.marginals(truth={"thta": 1.0})
    with pytest.raises(InputError, match=r"'theta' has shape \(2,\), but the site has shape \(\)"):
        plots.corner(truth={"theta": [1.0, 2.0]})


def test_nothing_to_draw_is_told(fit_of):
    with pytest.raises(InputError, match="nothing to draw"):
        plots_of({"x": np.ones(DRAWS)}, fit_of).corner()


@pytest.mark.parametrize("library", ["matplotlib", "corner"])
def test_a_missing_library_is_named(fit, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"{library}.*pip install 'taut\[plot\]'"):
        Plots(fit).corner()


def test_long_names_stay_apart_on_an_axis(fit_of):
    rng = np.random.default_rng(0)
    names = [f"hierarchical_offset_of_the_{k}_instrument" for k in ("first", "second")]
    figure = plots_of({name: rng.normal(size=(DRAWS, 4)) for name in names}, fit_of).corner()
    bottom = [axes.get_xlabel() for axes in figure.axes[-8:]]
    assert len(set(bottom)) == 8
    assert bottom[4].replace("\n", "").endswith("second_instrument[0]")


def test_the_end_is_not_flattened_by_a_lower_loss_on_few_draws(fit_of):
    fit = fit_of(5)
    loss = fit.trace.loss.copy()
    loss[10:20] = 118.0
    trace = dataclasses.replace(fit.trace, loss=loss)
    _, end = Plots(dataclasses.replace(fit, trace=trace)).loss().axes
    assert end.get_ylim()[1] < 1.0


def rows_of(axes):
    """The labels of a forest's rows, from the top down."""
    return [label.get_text() for label in axes.get_yticklabels()]


def test_a_forest_has_a_row_for_each_group(fit_of):
    fit = fit_of(12)
    (axes,) = panels(Plots(fit).forest())
    slope = fit.posterior["slope"]
    assert axes.get_title() == "slope"
    assert rows_of(axes) == [f"[{i}]" for i in range(7)]
    (medians,) = (line for line in axes.lines if len(line.get_xdata()) == 7)
    np.testing.assert_allclose(medians.get_xdata(), np.median(slope, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(medians.get_ydata(), np.arange(7)[::-1])
    (sorted_axes,) = panels(Plots(fit).forest(sort=True))
    order = np.argsort(-np.median(slope, axis=0))
    assert rows_of(sorted_axes) == [f"[{i}]" for i in order]


def test_a_forest_without_groups_shows_every_value(fit_of):
    assert [axes.get_title() for axes in panels(Plots(fit_of(5)).forest())] == list(
        fit_of(5).posterior
    )


def test_a_forest_keeps_what_is_beside_each_other_apart(fit_of):
    fit = fit_of(12)
    other = {name: 1.0 + array for name, array in fit.posterior.items()}
    figure = Plots(fit).forest(
        ["slope", "mode"], truth={"slope": np.zeros(7)}, others={"n$u$ts": other}
    )
    groups, single = panels(figure)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["fit", "n\\$u\\$ts", "truth"]
    (ours, theirs) = (line for line in groups.lines if len(line.get_xdata()) == 7)
    np.testing.assert_allclose(theirs.get_xdata(), ours.get_xdata() + 1.0, rtol=1e-9)
    assert (ours.get_ydata() > theirs.get_ydata()).all()
    assert ours.get_color() != theirs.get_color()
    assert ours.get_marker() != theirs.get_marker()
    assert vertical_lines(groups) == [0.0] * 7
    assert vertical_lines(single) == []
    assert_no_overlap(figure, drawn_texts(figure))


def test_a_long_forest_says_what_it_leaves_out(fit_of):
    rng = np.random.default_rng(0)
    draws = {"wide": rng.normal(size=(DRAWS, 300)), "sd": rng.gamma(2.0, size=DRAWS)}
    figure = plots_of(draws, fit_of).forest()
    assert len(rows_of(panels(figure)[0])) == 60
    assert "wide: first 60 of 300" in words(figure)
    figure = plots_of({"date": 2456789.0 + 0.01 * rng.normal(size=(DRAWS, 4))}, fit_of).forest()
    (axes,) = panels(figure)
    assert axes.get_xlabel().startswith("\N{MINUS SIGN} 24567")
    low, high = axes.get_xlim()
    assert high - low < 1.0


def test_other_posteriors_are_drawn_over_the_corner_plot(fit_of):
    fit = fit_of(3)
    other = {name: array[:500] for name, array in fit.posterior.items()}
    figure = Plots(fit).corner(others={"short": other}, truth={"theta": 1.1})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fit", "short"]
    assert len(panels(figure)) == 9
    assert vertical_lines(figure.axes[0]) == [1.1]
    assert_no_overlap(figure, drawn_texts(figure))


@pytest.mark.parametrize("kind", ["corner", "forest"])
def test_mistakes_are_told_in_plots_of_several(fit_of, kind):
    fit = fit_of(12)
    draw = getattr(Plots(fit), kind)
    for others in (None, {"again": fit}):
        with pytest.raises(InputError, match="truth: no site or scalar is called 'thet'"):
            draw(truth={"thet": 1.0}, others=others)
        with pytest.raises(InputError, match=r"'slope' has shape \(2,\)"):
            draw(truth={"slope": [1.0, 2.0]}, others=others)
        with pytest.raises(InputError, match="names: no site or scalar is called 'slop'"):
            draw("slop", others=others)
    with pytest.raises(InputError, match="no scalar in common"):
        draw(others={"other": {"z": np.ones(9)}})


def test_noisy_losses_are_drawn_with_their_course(verdict):
    rng = np.random.default_rng(0)
    steps = np.arange(5000)
    loss = 10.0 + 50.0 * np.exp(-steps / 300.0) + rng.normal(size=5000)
    loss[7], loss[4000] = np.nan, 1e6
    told = verdict(False, "moving", "param b is still moving, as a long sentence says; " * 3)
    figure = draw_losses(loss, told)
    whole, end = figure.axes
    _, course = whole.lines[:2]
    assert len(course.get_xdata()) == 100
    # The median of fifty losses of sd one has an error of 1.25 / sqrt(50).
    assert abs(course.get_ydata()[80] - 10.0) < 5 * 1.25 / np.sqrt(50)
    assert end.get_ylim()[1] < 20
    assert whole.get_ylim()[1] < 100
    assert "1 steps had no finite loss" in words(figure)
    assert "5,000 steps, not settled" in words(figure)
    assert_no_overlap(figure, drawn_texts(figure))
    with pytest.raises(InputError, match="no finite loss"):
        draw_losses([np.nan], None)
