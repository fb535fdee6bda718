"""The report page: one file, in the reader's order, with every name as text."""

import dataclasses
import html.parser
import re

import numpy as np
import pytest

from taut._core.errors import InputError
from taut.report.page import MOST_ROWS, to_page
from taut.report.page_figures import MOST_BYTES, embed
from taut.report.plot_style import new_figure
from taut.report.plots import Plots

EVIL = "<script>alert('x')</script>"


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that elements close in order."""

    EMPTY = frozenset({"meta", "img", "br"})

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text, self.heads, self.rows = [], [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open or "style" in self.open:
            return
        self.text.append(data)
        if "h2" in self.open:
            self.heads.append(data)
        if "td" in self.open:
            self.rows[-1].append(data)


def read(fit, **options):
    page = to_page(fit, **options)
    return page, Reader(page)


@pytest.fixture(scope="module")
def drawn_page(regression_fit):
    """The page of a real fit, with its figures."""
    return read(regression_fit)


@pytest.fixture
def make_page(monkeypatch):
    """A function (fit, **options) -> page and reader, without figures, which take a second each."""
    monkeypatch.setattr("taut.report.page.embed", lambda draw, alternative: "")
    return read


def test_the_order_is_that_of_the_questions(drawn_page):
    _, reader = drawn_page
    assert reader.heads == [
        *("Can I believe it?", "What is the answer?", "How does it look?", "How was it got?")
    ]
    pictures = [attributes["alt"] for tag, attributes in reader.tags if tag == "img"]
    assert len(pictures) == 6


def test_it_needs_nothing_from_outside(drawn_page):
    page, reader = drawn_page
    sources = [a.get("src") or a.get("href") for _, a in reader.tags if {"src", "href"} & set(a)]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    without_data = re.sub(r"data:image/[^']*", "", page)
    assert "http" not in without_data
    assert "url(" not in without_data
    assert "@import" not in without_data
    assert [tag for tag, _ in reader.tags].count("script") == 1


def test_a_large_fit_stays_below_three_megabytes(fit_of, make_page):
    page, _ = make_page(fit_of(2000))
    pictures = 6 * 4 / 3 * MOST_BYTES
    assert len(page.encode()) + pictures < 3e6


def test_a_picture_is_vector_or_small(fit_of):
    def detailed():
        figure = new_figure(7.0, 5.0)
        x, y = np.random.default_rng(0).random((2, 40_000))
        figure.subplots().plot(x, y, linestyle="none", marker=".")
        return figure

    assert "data:image/svg+xml;" in embed(Plots(fit_of(2)).k_hat, "k-hat")
    picture = embed(detailed, "many lines")
    assert "data:image/png;" in picture
    assert len(picture) < 4 / 3 * MOST_BYTES + 200


@pytest.mark.parametrize("scalars", [1, 20, 2000])
def test_the_table_is_cut_and_the_rest_counted(fit_of, make_page, scalars):
    page, reader = make_page(fit_of(scalars))
    names = [row[0] for row in reader.rows if len(row) == 11]
    assert len(names) == min(scalars, MOST_ROWS)
    assert (f"{scalars - MOST_ROWS:,} more rows" in page) == (scalars > MOST_ROWS)


def test_names_and_sentences_are_text(fit, finding, make_page):
    rng = np.random.default_rng(0)
    evil = dataclasses.replace(
        fit,
        posterior={EVIL: rng.normal(size=1000), "b&\"'": rng.normal(size=1000)},
        sites=(EVIL, "b&\"'"),
        notes=(EVIL,),
        findings=(finding(EVIL, 1.0, None, "bad", EVIL, EVIL),),
        trust="not trusted",
        shapes={},
    )
    _, reader = make_page(evil, title=EVIL)
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert "".join(reader.text).count(EVIL) >= 6
    assert "b&\"'" in "".join(reader.text)


def test_cells_carry_the_number_they_sort_by(fit, make_page):
    page, _ = make_page(fit)
    summary = fit.summary()
    for name in fit.sites:
        assert f"data-value='{summary[name]['mean']!r}'" in page
    assert "data-value='nan'" not in page
    assert "data-value=''>-</td>" in page


def test_every_level_of_trust_is_explained(fit, make_page):
    for trust, words in {
        "trusted": "use means, intervals and draws as they are",
        "usable": "its draws were corrected",
        "not trusted": "Do not use the numbers",
    }.items():
        page, _ = make_page(dataclasses.replace(fit, trust=trust))
        assert words in page


def test_what_cannot_be_drawn_is_said():
    def refuse():
        raise InputError("there is no model & no data")

    assert "Not drawn: there is no model &amp; no data." in embed(refuse, "nothing")


def test_a_real_fit_writes_its_report(regression_fit, make_page, tmp_path):
    path = regression_fit.report(tmp_path / "fit.html", title="Regression")
    assert path == tmp_path / "fit.html"
    assert [p.name for p in tmp_path.iterdir()] == ["fit.html"]
    page = path.read_text(encoding="utf-8")
    Reader(page)
    # The same fit gives the same file, pictures included.
    assert page == to_page(regression_fit, "Regression")


def test_figures_are_of_one_scale(drawn_page):
    page, reader = drawn_page
    inches = [a["style"] for tag, a in reader.tags if a.get("style", "").startswith("--inches")]
    assert len(inches) == page.count("<figure>") == 6
    assert "--inches:7.5" in inches
