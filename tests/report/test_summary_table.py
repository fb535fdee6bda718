"""The summary table: its numbers, its names and its width."""

import csv
import dataclasses
import io
import sys

import numpy as np
import pytest

from taut._core.errors import InputError, MissingExtraError
from taut.report.summary import summarise
from taut.report.terminal import width

DRAWS = 4000


@pytest.fixture
def awkward():
    """Sites of every magnitude and kind that a model may have."""
    rng = np.random.default_rng(0)
    return {
        "julian_date": 2456789.123 + 0.005 * rng.normal(size=DRAWS),
        "tiny": 1e-9 * rng.normal(size=DRAWS),
        "huge": 1e300 * rng.normal(size=DRAWS),
        "constant": np.full(DRAWS, 0.1, dtype=np.float32),
        "count": rng.poisson(3, DRAWS),
        "flag": rng.random(DRAWS) < 0.3,
        "broken": np.where(np.arange(DRAWS) == 7, np.nan, rng.normal(size=DRAWS)),
        "endless": np.where(np.arange(DRAWS) == 7, np.inf, rng.normal(size=DRAWS)),
        "a_site_with_a_name_longer_than_most_screens_are_wide" * 2: rng.normal(size=(DRAWS, 2)),
    }


def test_moments_are_numpys():
    x = np.random.default_rng(1).gamma(2.0, 3.0, size=(DRAWS, 2, 3))
    table = summarise({"x": x})
    assert table.names == ("x[0,0]", "x[0,1]", "x[0,2]", "x[1,0]", "x[1,1]", "x[1,2]")
    row = table["x[1,2]"]
    column = x[:, 1, 2]
    assert row["mean"] == pytest.approx(column.mean(), rel=1e-13)
    assert row["sd"] == pytest.approx(column.std(ddof=1), rel=1e-13)
    assert row["5%"] == np.quantile(column, 0.05)
    assert row["75%"] == np.quantile(column, 0.75)


def test_a_small_spread_on_a_large_mean_keeps_its_digits(awkward):
    x = awkward["julian_date"]
    assert summarise({"x": x})["x"]["sd"] == pytest.approx(np.std(x - x[0], ddof=1), rel=1e-12)


def test_squares_do_not_overflow(awkward):
    ratio = summarise({"x": awkward["huge"]})["x"]["sd"] / 1e300
    assert ratio == pytest.approx(np.std(awkward["huge"] / 1e300, ddof=1), rel=1e-12)


def test_a_constant_has_no_spread_and_no_error(awkward):
    row = summarise({"x": awkward["constant"]}, effective=np.nan)["x"]
    assert (row["mean"], row["sd"], row["mcse"]) == (float(np.float32(0.1)), 0.0, 0.0)


def test_what_is_unknown_stays_unknown(awkward):
    table = summarise(awkward)
    assert all(np.isnan(table["broken"][key]) for key in ("mean", "sd", "5%", "95%", "k_hat"))
    assert np.isnan(table["endless"]["mean"])
    assert np.isnan(table["endless"]["sd"])
    assert np.isnan(summarise({"x": np.ones(1)})["x"]["sd"])


def test_monte_carlo_error_uses_the_effective_size():
    draws = {"a": np.arange(100.0), "b": np.arange(100.0)}
    row = summarise(draws, effective={"a": 25.0}, k_hat={"a": 0.3, "log weights": 0.6})
    assert row["a"]["mcse"] == pytest.approx(row["a"]["sd"] / 5)
    assert (row["a"]["ess"], row["a"]["k_hat"]) == (25.0, 0.3)
    assert np.isnan(row["b"]["mcse"])
    assert summarise(draws)["a"]["ess"] == 100
    assert summarise(draws, effective=50.0)["b"]["ess"] == 50


def test_latents_come_first():
    draws = {"slope": np.ones(3), "z": np.ones((3, 2)), "a": np.ones(3), "none": np.ones((3, 0))}
    assert summarise(draws, ["a", "z"]).names == ("a", "z[0]", "z[1]", "slope")


def test_many_scalars_are_summarised_in_blocks():
    x = np.random.default_rng(2).normal(size=(50, 1300))
    table = summarise({"x": x})
    assert len(table) == 1300
    np.testing.assert_allclose(table.values[:, 0], x.mean(axis=0), rtol=0, atol=1e-14)


def test_it_is_an_immutable_mapping():
    table = summarise({"theta": np.arange(4.0)})
    assert "theta" in table
    assert list(table) == ["theta"]
    assert table.get("phi") is None
    with pytest.raises(KeyError, match="did you mean 'theta'"):
        table["thta"]
    with pytest.raises(ValueError, match="read-only"):
        table.values[0, 0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.names = ()


def test_bad_draws_are_refused():
    with pytest.raises(InputError, match=r"no draws of site 'thta' \(did you mean 'theta'\?\)"):
        summarise({"theta": np.ones(3)}, ["thta"])
    with pytest.raises(InputError, match="different numbers of draws"):
        summarise({"a": np.ones(3), "b": np.ones(4)})
    with pytest.raises(InputError, match="no axis of draws"):
        summarise({"a": np.float64(1)})
    with pytest.raises(InputError, match="no draws"):
        summarise({"a": np.ones(0)})


def test_csv_is_exact(awkward, tmp_path):
    table = summarise(awkward | {'say "x", y': np.arange(float(DRAWS))})
    text = table.to_csv()
    rows = list(csv.reader(io.StringIO(text)))
    assert tuple(row[0] for row in rows[1:]) == table.names
    np.testing.assert_array_equal(np.array([r[1:] for r in rows[1:]], float), table.values)
    assert table.to_csv(tmp_path / "summary.csv") is None
    assert (tmp_path / "summary.csv").read_text(encoding="utf-8") == text


def test_frame_is_exact(awkward, monkeypatch):
    table = summarise(awkward)
    frame = table.to_frame()
    np.testing.assert_array_equal(frame.to_numpy(), table.values)
    assert frame.loc["count", "mean"] == table["count"]["mean"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taut\[data\]'"):
        table.to_frame()


def test_printed_rows_are_aligned_and_narrow(awkward):
    for sites in (awkward, *({site: draws} for site, draws in awkward.items())):
        lines = str(summarise(sites)).splitlines()
        rows = [line for line in lines if not line.startswith("(no room")]
        assert max(map(width, lines)) <= 80
        assert len({width(line) for line in rows}) == 1
        assert len(rows) == 1 + sum(np.size(draws[0]) for draws in sites.values())


def test_columns_without_room_are_named(awkward):
    assert "(no room for 25%" in str(summarise(awkward))
    assert "no room" not in str(summarise({"x": awkward["count"]}))
    assert "25%" in str(summarise({"x": awkward["count"]})).splitlines()[0]


def test_the_limited_form_counts_the_rest():
    table = summarise({"x": np.random.default_rng(0).normal(size=(50, 200))})
    lines = table.lines(12)
    assert len(lines) == 12
    assert lines[-1] == "... and 190 more rows: fit.summary()"
    assert len(str(table).splitlines()) >= 201


def test_names_are_one_line_of_their_width():
    table = summarise({"two\nlines": np.arange(5.0), "温度" * 30: np.arange(5.0)})
    lines = str(table).splitlines()
    assert r"two\nlines" in lines[1]
    assert max(map(width, lines)) <= 80


def test_html_escapes_names():
    page = summarise({"<script>alert(1)</script>": np.arange(5.0)})._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    many = summarise({"x": np.ones((3, 40))})
    assert many.to_html(10).count("<tr>") == 11
    assert "30 more rows" in many.to_html(10)
    assert many._repr_html_().count("<tr>") == 41
