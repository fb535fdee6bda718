"""A fit on a terminal: at most 30 lines of 80 columns, whatever the model.

Every section has its own most lines, so a long note cannot push the trust, the caveat or the advice
off the screen; the table takes what is left, and what it leaves is shared by the sentences.
"""

from collections.abc import Sequence

from taut.report.fitted import Fitted, guide_words
from taut.report.numbers import format_with_error
from taut.report.story import Story, tell, time_words
from taut.report.terminal import COLUMNS, printable, shorten_end, width, wrap

LINES = 30
_LABEL = 9
_WHY, _STOPPED, _NOTES, _CAVEATS, _ADVICE = 5, 2, 3, 3, 4


def describe(fit: Fitted) -> str:
    """Return what `print(fit)` shows: trust and why, the answer, bound, cost and advice."""
    story, summary = tell(fit), fit.summary()
    whole = len(summary.lines(LINES))
    for more in range(LINES, -1, -1):
        head, tail = [_title(fit), *_bullets(story.why, _WHY + more)], _tail(story, more)
        left = LINES - len(head) - len(tail) - 1
        if left >= whole:
            break
    return "\n".join([*head, "", *summary.lines(left), *tail])


def _tail(story: Story, more: int) -> list[str]:
    """Return what comes below the table, with so many lines more for each section."""
    out = ["", *_labelled("draws", [story.draws], 1), *_bounds(story)]
    out += _labelled("stopped", [story.stopped], _STOPPED + more)
    out += _labelled("time", [time_words(story, COLUMNS - _LABEL)], 1)
    out += _labelled("notes", story.notes, _NOTES + more, "fit.notes")
    out += _labelled("caveat", story.caveats, _CAVEATS + more, "fit.findings")
    return out + _labelled("try", story.advice, _ADVICE + more, "fit.findings")


def describe_short(fit: Fitted) -> str:
    """Return what `repr(fit)` shows, one line."""
    elbo = format_with_error(*fit.elbo)
    return printable(f"<taut.Fit: {fit.trust}, {guide_words(fit)}, elbo {elbo}>")


def _title(fit: Fitted) -> str:
    trust = f"trust: {fit.trust.upper()}"
    guide = shorten_end(printable(f"Taut fit: {guide_words(fit)}"), COLUMNS - width(trust) - 3)
    return f"{guide}   {trust}"


def _bounds(story: Story) -> list[str]:
    elbo = "elbo".ljust(_LABEL) + story.elbo
    evidence = f"log evidence {story.log_evidence}"
    together = f"{elbo}   {evidence}"
    return [together] if len(together) <= COLUMNS else [elbo, " " * _LABEL + evidence]


def _bullets(sentences: Sequence[str], lines: int) -> list[str]:
    return _share(sentences, lines, "  - ", "    ", "fit.findings")


def _labelled(label: str, sentences: Sequence[str], lines: int, more: str = "") -> list[str]:
    indent = " " * _LABEL
    hanging = indent + "  " if len(sentences) > 1 else indent
    out = _share(sentences, lines, indent, hanging, more)
    return [label + out[0][len(label) :], *out[1:]] if out else []


def _share(sentences: Sequence[str], lines: int, first: str, rest: str, more: str) -> list[str]:
    """Wrap sentences into `lines` lines, leaving at least one line for each of the first ones."""
    shown = list(sentences[:lines])
    hidden = len(sentences) - len(shown)
    if hidden:  # the last line counts what is left out
        shown, hidden = shown[: lines - 1], hidden + 1
    out: list[str] = []
    for position, sentence in enumerate(shown):
        waiting = len(shown) - position - 1 + (hidden > 0)
        out += wrap(sentence, first, rest, lines - len(out) - waiting)
    if hidden:
        out += wrap(f"... and {hidden} more: {more}", first, rest, 1)
    return out
