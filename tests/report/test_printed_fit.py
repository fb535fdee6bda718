"""What print(fit) and a notebook show: everything a reader asks, within a screen."""

import dataclasses
import html
from html.parser import HTMLParser

import numpy as np
import pytest

from taut.report.html import to_html
from taut.report.story import UNSEEN_MODE
from taut.report.terminal import shorten_middle, width, wrap
from taut.report.text import describe, describe_short

LONG = "a sentence that goes on and on, as sentences about models with many sites do, " * 6
UNBROKEN = "https://example.org/" + "x" * 300
HOSTILE = "<script>alert('x')</script>"


def screen(fit):
    lines = describe(fit).splitlines()
    assert len(lines) <= 30
    assert max(map(width, lines)) <= 80
    return lines


@pytest.mark.parametrize("scalars", [1, 5, 500])
@pytest.mark.parametrize("trust", ["trusted", "usable", "not trusted"])
def test_it_fits_a_screen_and_says_all(fit_of, scalars, trust):
    fit = fit_of(scalars, trust=trust, notes=("'index' is held static",))
    lines = screen(fit)
    text = "\n".join(lines)
    assert lines[0].endswith(f"trust: {trust.upper()}")
    assert "full-rank Gaussian" in lines[0]
    assert "theta" in text
    assert "elbo     -123.457 ± 0.031" in text
    assert "log evidence -123.211 ± 0.012" in text
    assert "stopped  after 2,240 gradients (1,024 more for the checks): a further step" in text
    assert "time     0.75 s: trace 0.08" in text
    assert "notes    'index' is held static" in text
    assert "caveat   16 starts were tried" in text
    assert ("more rows: fit.summary()" in text) == (scalars == 500)


@pytest.mark.parametrize("scalars", [1, 5, 500])
def test_it_fits_a_screen_however_long_the_words(fit_of, finding, scalars):
    findings = tuple(
        finding(f"check {i}", 1.0, 0.5, level, sentence, sentence)
        for i, (level, sentence) in enumerate(
            [("bad", LONG), ("bad", UNBROKEN), ("doubt", LONG + "?"), ("note", LONG)] * 4
        )
    )
    fit = fit_of(
        scalars,
        trust="not trusted",
        findings=findings,
        notes=(LONG, UNBROKEN, LONG, "two\nlines\tand 温度 " * 20),
        guide_name="a guide whose name is a sentence of its own " * 3,
        elbo=(-1.234567891e15, float("nan")),
        log_evidence=(float("-inf"), float("nan")),
        seconds={f"phase {i} of many": 10.0**-i for i in range(12)},
    )
    long_names = {f"{name}_{'w' * 90}": draws for name, draws in fit.posterior.items()}
    fit = dataclasses.replace(fit, posterior=long_names, sites=tuple(long_names))
    text = "\n".join(screen(fit))
    for label in ("elbo", "log evidence", "stopped", "time", "notes", "caveat", "try"):
        assert f"\n{label} " in text or f" {label} " in text
    assert "trust: NOT TRUSTED" in text
    assert ("more: fit.findings" in text) == (scalars > 1)


@pytest.mark.parametrize("trust", ["trusted", "usable", "not trusted"])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("chains", "corrected: short HMC chains that began at the guide's draws"),
        ("weights", "corrected: the guide's draws, resampled by importance weights"),
        ("guide", "the guide's own, not corrected"),
    ],
)
def test_it_says_where_the_draws_come_from(fit_of, trust, source, words):
    fit = fit_of(5, trust=trust, draws_from=source)
    assert f"draws    {words}" in screen(fit)
    assert words in html.unescape(to_html(fit))


def test_sentences_are_whole_where_there_is_room(fit_of, finding):
    sentence = "seven words of sense in every clause, " * 3 + "and {} at the end of it"
    findings = [finding(f"check {i}", 1.0, 0.5, "good", sentence.format(i)) for i in range(5)]
    fit = fit_of(3, trust="trusted", findings=tuple(findings))
    text = " ".join(" ".join(screen(fit)).split())
    assert all(sentence.format(i) in text for i in range(5))
    # A table that needs the room has it.
    assert "..." in "\n".join(screen(dataclasses.replace(fit, posterior=fit_of(20).posterior)))


def test_the_deciding_findings_come_first(fit_of):
    usable, trusted = describe(fit_of(trust="usable")), describe(fit_of(trust="trusted"))
    assert usable.splitlines()[1].startswith("  - k-hat of the log weights is 0.61")
    assert trusted.splitlines()[1].startswith("  - a short HMC run moved no mean")


def test_advice_is_for_fits_that_need_it(fit_of):
    assert "\ntry " in describe(fit_of(trust="usable"))
    assert "\ntry " not in describe(fit_of(trust="trusted"))


def test_an_unseen_mode_is_always_mentioned(fit_of):
    bare = fit_of(findings=())
    assert " ".join(describe(bare).split()).count(UNSEEN_MODE) == 1
    assert UNSEEN_MODE in to_html(bare)


def test_an_interrupted_fit_without_times_can_be_printed(fit_of, verdict):
    stopped = verdict(False, "interrupted", "Ctrl-C stopped the fit; this is the best so far")
    fit = fit_of(verdict=stopped, seconds={}, trust="not trusted", gradients=0)
    nothing = dataclasses.replace(fit.trace, gradients=np.empty(0, int), loss=np.empty(0), stage=[])
    fit = dataclasses.replace(fit, trace=nothing)
    assert "after 0 gradients: Ctrl-C stopped the fit" in "\n".join(screen(fit))


def test_repr_is_one_line(fit_of):
    line = describe_short(fit_of(5))
    assert line == (
        "<taut.Fit: usable, full-rank Gaussian on 5 latent values, elbo -123.457 ± 0.031>"
    )
    assert "\n" not in describe_short(fit_of(5, guide_name="two\nlines"))


class _Tags(HTMLParser):
    """Checks that every tag is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_says_the_same_and_escapes_everything(fit_of, finding, verdict):
    fit = fit_of(
        40,
        findings=(
            finding(HOSTILE, 0.1, 0.5, "doubt", HOSTILE, HOSTILE),
            finding("starts", HOSTILE, None, "note", HOSTILE),
        ),
        notes=(HOSTILE,),
        verdict=verdict(False, HOSTILE, HOSTILE),
        guide_name=HOSTILE,
        seconds={HOSTILE: 1.0},
    )
    names = {f"{name}<script>": draws for name, draws in fit.posterior.items()}
    fit = dataclasses.replace(fit, posterior=names, sites=tuple(names))
    page = to_html(fit)
    tags = _Tags()
    tags.feed(page)
    assert not tags.open
    assert "script" not in tags.seen
    for words in ("usable", "elbo", "log evidence", "stopped", "notes", "caveat", "try"):
        assert f">{words}<" in page
    assert "16 more rows" in page


def test_html_leaves_colours_to_the_notebook(fit):
    page = to_html(fit)
    badge = page.index("background:#")
    assert "background:#" not in page[badge + 1 :]
    assert "color:#" not in page[:badge]


def test_wrap_keeps_every_word():
    assert " ".join(" ".join(wrap(LONG, "  - ", "    ", 99)).split()) == f"- {LONG.strip()}"
    assert "".join(line.strip() for line in wrap(UNBROKEN, "", "    ", 99)) == UNBROKEN
    cut = wrap(LONG, "", "", 2)
    assert len(cut) == 2
    assert cut[-1].endswith("...")


def test_a_shortened_name_keeps_its_index():
    short = shorten_middle("a_site_with_a_very_long_name[12,3]", 20)
    assert len(short) == 20
    assert short.startswith("a_site")
    assert short.endswith("[12,3]")
    assert width(shorten_middle("温度" * 20, 15)) <= 15


def test_what_no_check_can_see_is_never_cut_short(fit_of, finding):
    words = (
        "Checked from 8 starts; solutions found: 1. No check here can rule out a mode that none of "
        "the starts reached."
    )
    notes = [
        finding("linear response", np.nan, None, "note", "another caveat " * 20),
        finding("unseen modes", 8, None, "note", words),
    ]
    assert words in " ".join(describe(fit_of(5, findings=notes)).split())
