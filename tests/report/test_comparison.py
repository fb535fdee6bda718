"""Several posteriors side by side."""

import numpy as np
import pytest

import taut


def _draws(shift=0.0, scale=1.0, n=4000, seed=0):
    rng = np.random.default_rng(seed)
    return {"a": shift + scale * rng.normal(size=n), "b": rng.normal(size=(n, 2))}


def test_differences_are_in_sds_of_the_reference(within_error):
    comparison = taut.compare(
        {"truth": _draws(0.0, 2.0), "other": _draws(1.0, 3.0, seed=1)}, reference="truth"
    )
    assert comparison.names == ("a", "b[0]", "b[1]")
    row, column = 1, 0
    within_error(comparison.difference[row, column], 0.5, comparison.error[row, column])
    # The sd of a normal sample of n has the relative error 1 / sqrt(2 n), here of each of two.
    within_error(comparison.sd_ratio[row, column], 1.5, 1.5 / np.sqrt(4000))
    np.testing.assert_array_equal(comparison.difference[0], 0.0)
    np.testing.assert_array_equal(comparison.error[0], 0.0)
    worst, ratio = comparison.worst("other")
    assert worst == comparison.difference[row, column]
    assert ratio == comparison.sd_ratio[row, column]


def test_the_frame_holds_every_scalar_of_every_entry():
    pytest.importorskip("pandas")
    comparison = taut.compare({"x": _draws(), "y": _draws(seed=1)})
    frame = comparison.to_frame()
    assert len(frame) == 6
    assert frame.loc[("b[1]", "y"), "mean"] == comparison.mean[1, 2]


def test_what_only_some_have_is_named():
    draws = _draws()
    comparison = taut.compare({"x": draws, "y": {"a": draws["a"]}})
    assert comparison.names == ("a",)
    assert comparison.missing == ("b[0]", "b[1]")
    assert "not in all of them" in str(comparison)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_table_fits_a_terminal(count):
    entries = {f"an entry of a long name {i}": _draws(1e5 * i, seed=i) for i in range(count)}
    lines = str(taut.compare(entries)).splitlines()
    assert max(map(len, lines[:-count])) <= 80


def test_constants_do_not_differ():
    comparison = taut.compare({"x": {"a": np.ones(9)}, "y": {"a": np.ones(9)}})
    np.testing.assert_array_equal(comparison.difference, 0.0)
    np.testing.assert_array_equal(comparison.sd_ratio, 1.0)


def test_mistakes_are_said():
    with pytest.raises(taut.InputError, match="two or more entries"):
        taut.compare({"x": _draws()})
    with pytest.raises(taut.InputError) as caught:
        taut.compare({"first": _draws(), "y": 3}, reference="frist")
    assert len(caught.value.problems) == 2
    assert "did you mean 'first'" in caught.value.problems[1]
    with pytest.raises(taut.InputError, match="no scalar in common"):
        taut.compare({"x": {"a": np.ones(5)}, "y": {"b": np.ones(5)}})
    with pytest.raises(taut.InputError, match="no entry is called 'z'"):
        taut.compare({"x": _draws(), "y": _draws()}).worst("z")


def test_the_corner_plot_has_a_line_for_each():
    pytest.importorskip("corner")
    comparison = taut.compare({"x": _draws(), "y": _draws(0.5, seed=1)})
    figure = comparison.corner(truth={"a": 0.2, "b": [0.0, 1.0]})
    assert len(figure.axes) == 9
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]
    assert len(comparison.corner("b").axes) == 4
    with pytest.raises(taut.InputError, match="no site or scalar is called 'c'"):
        comparison.corner("c")
    with pytest.raises(taut.InputError, match="truth: no site or scalar is called 'c'"):
        comparison.corner(truth={"c": 1.0})


def test_plots_of_several_leave_out_what_cannot_be_drawn():
    pytest.importorskip("corner")
    x, y = _draws() | {"one": np.ones(4000)}, _draws(seed=1, n=50) | {"one": np.ones(50)}
    comparison = taut.compare({"x": x, "y": y})
    for figure in (comparison.corner(), comparison.forest(["a", "b", "one"])):
        texts = [text.get_text() for text in figure.texts]
        assert "left out, every draw is the same: one" in texts


def test_a_site_that_is_shared_in_part_is_shown_in_part():
    comparison = taut.compare({"x": _draws(), "y": {"b[1]": _draws(seed=1)["b"][:, 1]}})
    (axes,) = comparison.forest().axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["[1]"]


def test_a_notebook_gets_a_table_without_markup_from_names():
    draws = {"a<script>": _draws()["a"], "b": np.ones(4000)}
    page = taut.compare({"x&y": draws, "other": draws})._repr_html_()
    assert page.count("<tr>") == 3
    assert "a&lt;script&gt;" in page
    assert "x&amp;y mean" in page
    assert "<script>" not in page
    assert "+0.00 ± 0.02" in page
