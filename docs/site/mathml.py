"""Formulas as MathML, written when the site is built: readers load no script from elsewhere."""

import re
from typing import Any

from latex2mathml.converter import convert
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer with Sphinx, under the name `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


_FUNCTION = re.compile(r"<mi>(log|det|sym|tr|Cov)</mi>(?!<mo[^>]*>&#x00028;)")


def _inline(translator: Any, node: Any) -> None:
    translator.body.append(_spaced(convert(node.astext())))
    raise _skip()


def _block(translator: Any, node: Any) -> None:
    formula = _spaced(convert(node.astext(), display="block"))
    translator.body.append(f"<div class='formula'>{formula}</div>")
    raise _skip()


def _spaced(formula: str) -> str:
    """Put the thin space between a function and what it is of, which the converter leaves out."""
    return _FUNCTION.sub(r"\g<0><mspace width='0.17em'/>", formula)


def _skip() -> Exception:
    from docutils.nodes import SkipNode

    return SkipNode()
