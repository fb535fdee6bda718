"""A fit as one HTML page that needs nothing else: no network, no other file.

The order is that of a reader's questions: can I believe it, what is the answer, how does it look,
how was it got. Every name and sentence is escaped: a site called `<script>` is text.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from taut.report.fitted import Fitted, guide_words
from taut.report.html import BADGES
from taut.report.page_figures import embed
from taut.report.page_style import SCRIPT, STYLE
from taut.report.plots import Plots
from taut.report.story import tell, time_words
from taut.report.summary_text import NUMBER_COLUMNS, format_row

MOST_ROWS = 400
"""Rows of the summary table that a page shows."""
_FEW = 3  # values of a site that a corner plot shows as well as a forest

_MEANINGS = {
    "trusted": "The checks found nothing wrong: use means, intervals and draws as they are.",
    "usable": "Use the draws and the numbers on this page, and read the reasons: the guide alone "
    "was off and its draws were corrected, or a tail is so heavy that an sd may not exist.",
    "not trusted": "Do not use the numbers on this page as a posterior before the reasons below "
    "are dealt with.",
}
_COLUMNS = {
    "mcse": "Monte Carlo standard error of the mean",
    "ess": "effective number of draws",
    "k_hat": "Pareto shape of the importance weights for this mean; above 0.7 the guide alone "
    "cannot be relied on",
}


def to_page(fit: Fitted, title: str = "Taut fit") -> str:
    """Return the whole page as text.

    Args:
        fit: the fit to describe.
        title: the page's title, such as the name of the model or the data.
    """
    body = [*_belief(fit, title), *_answer(fit), *_look(fit), *_origin(fit)]
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        + "\n".join(part for part in body if part)
        + f"</main><script>{SCRIPT}</script></body></html>\n"
    )


def _belief(fit: Fitted, title: str) -> list[str]:
    story, plots = tell(fit), Plots(fit)
    ground, ink = BADGES.get(fit.trust, BADGES["not trusted"])
    rows = [
        [
            _cell(finding.level, css=f"text {finding.level}"),
            _cell(finding.name, css="text"),
            _number(finding.value),
            _number(finding.threshold),
            _cell(finding.message, css="long"),
        ]
        for finding in fit.findings
    ]
    return [
        f"<h1>{escape(title)}</h1>",
        f"<p class='soft'>{escape(guide_words(fit))}</p>",
        "<h2>Can I believe it?</h2>",
        f"<p><span class='badge' style='background:{ground};color:{ink}'>{escape(fit.trust)}</span>"
        f"</p><p>{_MEANINGS.get(fit.trust, '')}</p>",
        _list(story.why),
        f"<p>Draws: {escape(story.draws)}.</p>",
        _section("What to try", _list(story.advice) if story.advice else ""),
        _section("What no check can see", _list(story.caveats)),
        _section(
            "All findings",
            _table(_finding_heads(), rows, "findings") if rows else "",
        ),
        embed(plots.k_hat, "Pareto k-hat of the importance weights, by scalar"),
    ]


def _answer(fit: Fitted) -> list[str]:
    story, table = tell(fit), fit.summary()
    shown = table.names[:MOST_ROWS]
    rows = []
    for name, values in zip(shown, table.values, strict=False):
        texts = format_row(values)
        cells = zip(texts, values.tolist(), strict=True)
        rows.append([_cell(name), *(_cell(text, _sortable(value)) for text, value in cells)])
    hidden = len(table.names) - len(shown)
    return [
        "<h2>What is the answer?</h2>",
        _table([_head(""), *(_head(c, meaning=_COLUMNS.get(c, "")) for c in NUMBER_COLUMNS)], rows),
        f"<p class='soft'>{hidden:,} more rows: fit.summary()</p>" if hidden else "",
        "<p class='soft'>Percentages are posterior quantiles. A click on a column sorts by it.</p>",
        _terms(
            {
                "elbo, a lower bound on the log evidence (nats)": story.elbo,
                "log evidence by importance sampling (nats)": story.log_evidence,
            }
        ),
    ]


def _look(fit: Fitted) -> list[str]:
    plots = Plots(fit)
    return [
        "<h2>How does it look?</h2>",
        _section("The data against replicates", embed(plots.predictive, "Predictive check")),
        _section("Each value alone", embed(plots.marginals, "Marginal posteriors and priors")),
        _section("Groups", embed(plots.forest, "A row for each group") if _grouped(fit) else ""),
        _section("Pairs of values", embed(plots.corner, "Corner plot of the posterior")),
        _section("Strongest relations", embed(plots.pairs, "Strongest pairs, over the guide")),
    ]


def _grouped(fit: Fitted) -> bool:
    draws = fit.sample(1)
    return any(draws[site][0].size > _FEW for site in fit.sites)


def _origin(fit: Fitted) -> list[str]:
    story = tell(fit)
    facts = {
        "stopped": story.stopped,
        "time": time_words(story, 200),
        "guide": guide_words(fit),
        "seed": str(fit.seed),
        "versions": ", ".join(f"{name} {version}" for name, version in fit.versions.items()),
    }
    return [
        "<h2>How was it got?</h2>",
        embed(Plots(fit).loss, "Loss against gradient evaluations"),
        _section("How the model was read", _list(story.notes)) if story.notes else "",
        _terms({name: text for name, text in facts.items() if text}),
    ]


def _finding_heads() -> list[str]:
    kinds = {"level": "text", "check": "text", "value": "", "limit": "", "means": "long"}
    return [_head(name, css) for name, css in kinds.items()]


def _section(head: str, content: str) -> str:
    return f"<section><h3>{escape(head)}</h3>{content}</section>" if content else ""


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _terms(facts: Mapping[str, str]) -> str:
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return f"<dl>{''.join(pairs)}</dl>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Return a table whose columns sort; `heads` and `rows` are made of finished cells."""
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return (
        f"<div class='wide'><table class='sortable {kind}'><thead><tr>{''.join(heads)}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _head(name: str, css: str = "", meaning: str = "") -> str:
    kind = f" class='{css}'" if css else ""
    hint = f" title='{escape(meaning, quote=True)}'" if meaning else ""
    return f"<th scope='col'{kind}{hint}>{escape(name)}</th>"


def _cell(text: str, value: str | None = None, css: str = "") -> str:
    key = escape(text if value is None else value, quote=True)
    kind = f" class='{escape(css, quote=True)}'" if css else ""
    return f"<td{kind} data-value='{key}'>{escape(text)}</td>"


def _number(value: Any) -> str:
    if isinstance(value, (int, float)):
        number = float(value)
        return _cell("-" if math.isnan(number) else f"{number:.3g}", _sortable(number))
    return _cell("-" if value is None else str(value), "" if value is None else None)


def _sortable(value: float) -> str:
    """Return a number as the script reads it; unknown ones, empty, sort last."""
    if math.isnan(value):
        return ""
    return repr(value) if math.isfinite(value) else ("1e999" if value > 0 else "-1e999")
