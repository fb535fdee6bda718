"""Text that keeps its width: names and sentences on a terminal of so many columns.

Width is counted as terminals show it: East Asian wide characters take two columns, combining marks
none. Control characters (a newline in a site's name) are shown as escapes, so that one line stays
one line.
"""

import unicodedata

COLUMNS = 80
_MORE = "..."


def printable(text: str) -> str:
    """Return the text with control characters as escapes and runs of spaces as they are."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def width(text: str) -> int:
    """Return the number of terminal columns that a text takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def shorten_middle(text: str, columns: int) -> str:
    """Cut the middle out of a name, so that its start and its index stay readable."""
    if width(text) <= columns:
        return text
    room = max(columns - len(_MORE), 1)
    tail = _take(text[::-1], room // 2)[::-1]
    return _take(text, room - width(tail)) + _MORE + tail


def shorten_end(text: str, columns: int) -> str:
    """Cut the end of a line and mark the cut."""
    if width(text) <= columns:
        return text
    return _take(text, columns - len(_MORE)).rstrip() + _MORE


def pad(text: str, columns: int) -> str:
    """Fill with spaces on the right."""
    return text + " " * (columns - width(text))


def wrap(
    text: str, first: str = "", rest: str = "", lines: int = 10, columns: int = COLUMNS
) -> list[str]:
    """Break a sentence into at most `lines` lines of `columns`, marking a cut with '...'.

    Args:
        text: any text; its own line breaks are read as spaces.
        first: what the first line opens with.
        rest: what every later line opens with.
        lines: the most lines to return.
        columns: the width of a line.
    """
    words = printable(" ".join(text.split())).split(" ")
    out: list[str] = []
    current, empty = first, True
    for word in words:
        joined = current + word if empty else f"{current} {word}"
        while width(joined) > columns:
            if empty:  # one word longer than a whole line
                current = _take(joined, columns)
                word = joined[len(current) :]
            out.append(current)
            current, empty, joined = rest, True, rest + word
        current, empty = joined, False
    out.append(current)
    if len(out) > lines:
        out = [*out[: lines - 1], shorten_end(out[lines - 1] + " " * columns, columns)]
    return [line.rstrip() for line in out]


def _take(text: str, columns: int) -> str:
    used = 0
    for position, character in enumerate(text):
        used += _character_width(character)
        if used > columns:
            return text[:position]
    return text


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
