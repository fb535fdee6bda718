"""A fit in a notebook: what the terminal shows, as HTML.

Colours come from the notebook (`inherit`, `currentColor`, no background), so the same text reads on
white and on black; only the badge of the trust carries its own pair of colours. Every name and
sentence is escaped: a site called `<script>` is text.
"""

import math
from collections.abc import Sequence
from html import escape

from taut.report.fitted import Fitted, guide_words
from taut.report.numbers import format_value
from taut.report.story import tell, time_words

_ROWS = 24
# Okabe-Ito, darkened where needed to give white or black text a contrast above 4.5.
BADGES = {
    "trusted": ("#00664b", "#ffffff"),
    "usable": ("#e69f00", "#000000"),
    "not trusted": ("#a33f00", "#ffffff"),
}
_BADGE = "padding:1px 8px;border-radius:8px;font-weight:600;margin-left:0.6em"
_LINE = "margin:0.35em 0"
_CELL = "text-align:left;vertical-align:top;padding:2px 8px"
_RULE = "border-left:3px solid currentColor;padding-left:0.8em;color:inherit;max-width:60em"


def to_html(fit: Fitted) -> str:
    """Return what a notebook shows for a fit."""
    story = tell(fit)
    background, ink = BADGES.get(fit.trust, BADGES["not trusted"])
    parts = [
        f"<div><b>Taut fit</b>: {escape(guide_words(fit))}<span style='{_BADGE};"
        f"background:{background};color:{ink}'>{escape(fit.trust)}</span></div>",
        _list(story.why),
        fit.summary().to_html(_ROWS),
        _labelled("draws", [story.draws]),
        _labelled("elbo", [story.elbo]),
        _labelled("log evidence", [story.log_evidence]),
        _labelled("stopped", [story.stopped]),
        _labelled("time", [time_words(story, 200)]),
        _labelled("notes", story.notes),
        _labelled("caveat", story.caveats),
        _labelled("try", story.advice),
        _findings(fit),
    ]
    return f"<div style='{_RULE}'>{''.join(parts)}</div>"


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul style='{_LINE}'>{items}</ul>" if items else ""


def _labelled(label: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    text = "<br>".join(map(escape, sentences))
    return f"<div style='{_LINE}'><b>{escape(label)}</b>: {text}</div>"


def _findings(fit: Fitted) -> str:
    """Return all findings as a table that opens on a click."""
    if not fit.findings:
        return ""
    heads = "".join(
        f"<th style='{_CELL}'>{head}</th>" for head in ("level", "check", "value", "limit", "means")
    )
    rows = []
    for finding in fit.findings:
        cells = (
            finding.level,
            finding.name,
            _number(finding.value),
            _number(finding.threshold),
            finding.message,
        )
        row = "".join(f"<td style='{_CELL}'>{escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr>{row}</tr>")
    return (
        f"<details style='{_LINE}'><summary>all {len(rows)} findings</summary>"
        f"<table style='background:transparent;color:inherit'><tr>{heads}</tr>{''.join(rows)}"
        "</table></details>"
    )


def _number(value: object) -> str:
    if isinstance(value, (int, float)):  # NumPy's float64 is a float; other numbers print well
        return "-" if math.isnan(value) else format_value(float(value))
    return "-" if value is None else str(value)
