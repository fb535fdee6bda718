"""Plots as pictures inside a page: vector where that is small, a sharp bitmap where it is not."""

import base64
import io
from collections.abc import Callable
from html import escape
from typing import Any

from taut._core.errors import TautError
from taut.report.plot_style import figure_settings

MOST_BYTES = 300_000
"""Of one picture, so that a page of six stays below 3 MB when written in base 64."""

_SHARPNESS = (200, 130, 80)  # dots per inch, tried in this order
_COLOURS = 200  # of a bitmap: plots have few, and a palette takes a third of the bytes


def embed(draw: Callable[[], Any], alternative: str) -> str:
    """Return a plot as an HTML figure, or a sentence on why there is none."""
    try:
        figure = draw()
    except TautError as error:
        return f"<p class='soft'>Not drawn: {escape(str(error))}.</p>"
    kind, picture = _smallest(figure)
    data = base64.b64encode(picture).decode("ascii")
    # A picture of its own document: names inside it can neither run nor clash.
    inches = f"--inches:{figure.get_figwidth():g}"
    source = f"data:image/{kind};base64,{data}"
    return (
        f"<figure><div class='wide' style='{inches}'>"
        f"<img alt='{escape(alternative, quote=True)}' src='{source}'></div></figure>"
    )


def _smallest(figure: Any) -> tuple[str, bytes]:
    vector = _write(figure, format="svg", metadata={"Date": None})
    if len(vector) <= MOST_BYTES:
        return "svg+xml", vector
    bitmap = b""
    for dots in _SHARPNESS:
        bitmap = _with_palette(_write(figure, format="png", dpi=dots))
        if len(bitmap) <= MOST_BYTES:
            break
    return "png", bitmap


def _with_palette(picture: bytes) -> bytes:
    from PIL import Image  # Matplotlib writes its bitmaps with it

    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(_COLOURS).save(buffer, "png")
    return buffer.getvalue()


def _write(figure: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with figure_settings({"svg.hashsalt": "taut", "svg.fonttype": "path"}):
        figure.savefig(buffer, **options)
    return buffer.getvalue()
