"""Docstrings are plain text with `code`: Sphinx must not read stars and bars in them."""

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(`[^`]*`)")
_ARGUMENT = re.compile(r"\s*\*{1,2}\w+(,|:)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Escape docstrings before Napoleon reads their sections."""
    app.connect("autodoc-process-docstring", _escape, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _escape(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    for number, line in enumerate(lines):
        if _ARGUMENT.match(line):
            head, colon, rest = line.partition(":")
            lines[number] = head + colon + _escaped(rest)
        else:
            lines[number] = _escaped(line)


def _escaped(text: str) -> str:
    parts = _CODE.split(text)
    plain = [re.sub(r"[*|]", r"\\\g<0>", part) for part in parts[::2]]
    code = [*parts[1::2], ""]
    return "".join(p + c for p, c in zip(plain, code, strict=True))
