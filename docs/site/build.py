"""Builds the documentation as a static site: `python docs/site/build.py build/site`.

The pages of `docs/`, the files at the top of the repository and the scripts of `examples/` are put
together in a folder of their own, so that nothing is written into the repository. Every script of
`examples/tutorial` that opens with "Page N." becomes a page: its docstring, its code, its figure.
"""

import argparse
import ast
import re
import shutil
import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).parents[2]

# Files outside `docs/` that are pages of the site too, and the names they get there.
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")
_HEAD = re.compile(r"Page (\d+)\.\s+(.+)")


def main() -> int:
    """Build the site; warnings are errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder for the site")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "docs")
        assemble(source)
        conf, kept = str(ROOT / "docs" / "site"), str(Path(folder, "doctrees"))
        options_of_sphinx = ["-W", "--keep-going", "-q", "-b", "html", "-c", conf, "-d", kept]
        return build_main([*options_of_sphinx, str(source), str(options.out)])


def assemble(source: Path) -> None:
    """Put all pages of the site into a folder."""
    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("site", "__pycache__"))
    for name, page in PAGES.items():
        shutil.copy(ROOT / name, source / page)
    for page in sorted(source.rglob("*.md")):
        old = ROOT / next((n for n, p in PAGES.items() if source / p == page), "")
        place = old.parent if old.is_file() else ROOT / "docs" / page.parent.relative_to(source)
        page.write_text(_relink(page.read_text(), place, page.parent, source))
    _add_measured_tables(source / "performance.md")
    tutorial = source / "tutorial"
    tutorial.mkdir()
    for script in sorted((ROOT / "examples" / "tutorial").glob("*.py")):
        _write_page(script, tutorial)
    decisions = sorted(path.stem for path in (source / "decisions").glob("*.md"))
    (source / "decisions" / "index.md").write_text(_contents("Decisions", decisions))


def _add_measured_tables(page: Path) -> None:
    """Put the README's comparison with NumPyro, which the benchmarks write, on top of a page."""
    section = (ROOT / "README.md").read_text().partition("## Beside NumPyro\n")[2]
    section = section.partition("\n## ")[0].strip()
    section = re.sub(r"\[docs/performance.md\]\([^)]*\)", "The next section", section)
    head, _, rest = page.read_text().partition("\n")
    page.write_text(f"# Performance\n\n## Beside NumPyro\n\n{section}\n\n#{head}\n{_lowered(rest)}")


def _lowered(text: str) -> str:
    """Return a page with its headings one level down."""
    return re.sub(r"^#", "##", text, flags=re.MULTILINE)


def _write_page(script: Path, folder: Path) -> None:
    """Write the page of one script, if it is one; its number orders the pages."""
    text = script.read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    first, _, prose = docstring.partition("\n")
    head = _HEAD.match(first)
    if head is None:
        return
    number, title = int(head[1]), head[2].removesuffix(".")
    code = text.split('"""', 2)[2].strip()
    figure = script.with_suffix(".png")
    picture = ""
    if figure.is_file():
        shutil.copy(figure, folder)
        picture = f"\n![What the script draws]({figure.name})\n"
    (folder / f"{number:02}-{script.stem}.md").write_text(
        f"# {number}. {title}\n{prose}\n{picture}\n`examples/tutorial/{script.name}`:\n\n"
        f"```python\n{code}\n```\n"
    )


def _contents(title: str, pages: list[str]) -> str:
    listed = "\n".join(pages)
    return f"# {title}\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"


def _relink(text: str, old: Path, new: Path, source: Path) -> str:
    """Point links at the pages of the site; what is no page of it is named, not linked.

    Args:
        text: a page.
        old: the folder of the repository that its links start from.
        new: the folder of the site that it is in.
        source: the folder of the site.
    """

    def relinked(link: re.Match) -> str:
        words, target, anchor = link[1], link[2], link[3] or ""
        path = (old / target).resolve()
        inside = path.relative_to(ROOT) if path.is_relative_to(ROOT) else None
        if inside is None or not path.exists():
            return link[0]  # Sphinx says what is wrong with it
        page = PAGES.get(str(inside))
        if page is None and inside.parts[0] == "docs" and path.is_file():
            page = str(Path(*inside.parts[1:]))
        if page is None and str(inside) == "docs/decisions":
            page = "decisions/index.md"
        if page is None and inside.parts[:2] == ("examples", "tutorial"):
            page = "tutorial.md"
        if page is None:
            return words if f"`{inside}`" in words else f"{words} (`{inside}`)"
        there = Path(source, page)
        up = Path(*[".."] * len(new.relative_to(source).parts))
        return f"[{words}]({up / there.relative_to(source)}{anchor})"

    return _LINK.sub(relinked, text)


if __name__ == "__main__":
    sys.exit(main())
