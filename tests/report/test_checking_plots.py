"""The plots that check a fit: prior behind, pairs over the guide, k-hat, predictions."""

import dataclasses

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text

from taut._core.errors import InputError
from taut.report.plot_style import VERMILLION
from taut.report.plots import Plots


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


def without(fit, **methods):
    """A fit of which some methods raise, as those of a fit loaded without its model do."""

    def refuse(*_, **__):
        raise InputError("there is no model")

    other = dataclasses.replace(fit)
    for name in methods:
        object.__setattr__(other, name, refuse)
    return other


def prior_density(axes):
    """The prior's outline: the stairs that are not filled."""
    (outline,) = [p for p in axes.patches if type(p).__name__ == "StepPatch" and not p.get_fill()]
    return outline.get_data()


def test_the_prior_stands_behind_at_its_own_density(fit):
    figure = Plots(fit).marginals("theta")
    assert "grey behind: prior" in words(figure)
    values, _, _ = prior_density(figure.axes[0])
    # A normal prior with sd 10 has the density 0.0399 at its centre; a bin holds 100 draws or more.
    assert values.mean() == pytest.approx(0.0399, abs=5 * 0.0399 / np.sqrt(100))


def test_a_prior_is_left_out_where_there_is_none_and_missed_if_asked_for(fit):
    loaded = without(fit, prior=True)
    assert "prior" not in words(Plots(loaded).marginals("theta"))
    assert "prior" not in words(Plots(fit).marginals("theta", prior=False))
    with pytest.raises(InputError, match="no model"):
        Plots(loaded).marginals("theta", prior=True)


def test_the_strongest_pair_comes_first(fit):
    figure = Plots(fit).pairs()
    first = figure.axes[0]
    assert {first.get_xlabel(), first.get_ylabel()} == {"theta", "b_perp"}
    draws = fit.posterior
    ranks = [np.argsort(np.argsort(draws[name])) for name in ("theta", "b_perp")]
    assert f"rank correlation {np.corrcoef(ranks)[0, 1]:.2f}" in first.get_title()
    assert len(figure.axes) == 10


def test_many_pairs_are_cut_and_counted(fit_of):
    figure = Plots(fit_of(20)).pairs()
    assert "the 12 most strongly related of 190 pairs" in words(figure)


def test_one_value_has_no_pairs(fit):
    with pytest.raises(InputError, match="a pair needs two values"):
        Plots(fit).pairs("theta")


def test_the_guide_is_left_out_where_it_cannot_be_drawn(fit):
    class Loaded(type(fit)):
        def sample(self, n=4000, seed=0, corrected=True):
            if not corrected:
                raise InputError("there is no model")
            return super().sample(n, seed)

    fields = {f.name: getattr(fit, f.name) for f in dataclasses.fields(fit)}
    assert "guide's own draws" in words(Plots(fit).pairs())
    assert "guide's own draws" not in words(Plots(Loaded(**fields)).pairs())


def test_k_hats_are_sorted_and_named(fit):
    axes = Plots(fit).k_hat().axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["all weights", "sigma_outlier", "b_perp", "theta"]
    places = {
        tuple(np.round(p, 6)) for c in axes.collections for p in c.get_offsets().data.tolist()
    }
    assert {(0.61, 3.0), (1.2, 2.0), (0.66, 1.0), (0.31, 0.0)} <= places


def looks_of(axes):
    """The colours of the k-hats that are drawn."""
    shown = [c for c in axes.collections if isinstance(c, PathCollection) and len(c.get_offsets())]
    return {to_hex(scatter.get_facecolor()[0]) for scatter in shown}


def test_a_k_hat_that_is_not_held_against_the_fit_is_not_marked_as_bad(fit, finding):
    sentence = "The weights are so equal that a k-hat above 0.7 means little: 94 % are effective."
    high = dataclasses.replace(fit, k_hat=0.86, shapes={"theta": 0.9})
    for level, bad in (("good", False), ("doubt", True)):
        told = (finding("k-hat", 0.86, 0.7, level, sentence),)
        figure = Plots(dataclasses.replace(high, findings=told)).k_hat()
        text = " ".join(words(figure).split())
        assert (sentence in text) == (not bad)
        assert ("above 0.7: not held against this fit" in text) == (not bad)
        assert ("above 0.7: weights alone do not mend it" in text) == bad
        assert (VERMILLION in looks_of(figure.axes[0])) == bad


def test_constant_weights_have_a_place_on_the_axis(fit):
    figure = Plots(dataclasses.replace(fit, k_hat=-np.inf, shapes={})).k_hat()
    figure.draw_without_rendering()
    assert figure.axes[0].get_yticklabels()[0].get_text() == "all weights"


def test_an_unknown_k_hat_is_told(fit):
    with pytest.raises(InputError, match="k-hat is not known"):
        Plots(dataclasses.replace(fit, k_hat=np.nan, shapes={})).k_hat()


def test_predictions_are_held_against_data(fit):
    figure = Plots(fit).predictive()
    made = fit.predict(draws=1000)["flux"]
    low, high = np.quantile(made, (0.05, 0.95), axis=0)
    data = fit.observed["flux"]
    inside = int(np.sum((data >= low) & (data <= high)))
    assert f"{inside} of 80 ({100 * inside / 80:.0f}%) lie in their 90% interval" in words(figure)
    assert len(figure.axes) == 4


def test_a_site_is_drawn_along_a_covariate(fit):
    place = np.linspace(5.0, 9.0, 80)
    figure = Plots(fit).predictive("flux", against=place)
    drawn = np.concatenate([line.get_xdata() for line in figure.axes[1].lines])
    assert drawn.min() == 5.0
    assert drawn.max() == 9.0
    rows = Plots(fit).predictive("hits", against=np.arange(4.0))
    assert "of 20 (" in words(rows)


def test_mistakes_about_predictions_are_told(fit):
    with pytest.raises(InputError, match="did you mean 'flux'"):
        Plots(fit).predictive("flx")
    with pytest.raises(InputError, match=r"against has shape \(3,\)"):
        Plots(fit).predictive("flux", against=[1, 2, 3])
    with pytest.raises(InputError, match="no observed data"):
        Plots(dataclasses.replace(fit, observed={})).predictive()


@pytest.mark.parametrize("kind", ["marginals", "pairs", "k_hat", "predictive", "corner", "loss"])
def test_a_real_fit_has_every_plot(regression_fit, kind):
    picture, _ = getattr(regression_fit.plot, kind)()._repr_png_()
    assert picture.startswith(b"\x89PNG")
