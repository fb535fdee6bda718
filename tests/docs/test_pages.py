"""Every block of code in the documentation runs, page by page, as a reader would run it.

In order of the page: blocks of Python in one namespace, commands of the shell in this process; only
pages of `RUN` run them, on others the command line is read, with its model and data. A comment
`<!-- file: name -->` before a block makes it a file, `<!-- needs: library -->` skips it where the
library is not installed, `<!-- output -->` marks what is printed. Budgets are cut to five seconds.
"""

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
from extras import needs

from taut.cli import main
from taut.cli.model_call import read_call
from taut.cli.parser import build_parser

mpl.use("agg")
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "examples").rglob("*.md"))
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^>]*) -->\n)?```(?P<kind>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
RUN = (ROOT / "README.md", ROOT / "docs" / "start.md")
# Commands that are not ours, and take a network or minutes.
FOREIGN = ("python3 -m venv", "pip install", "python -m pytest", ". .venv")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of a page: its language, its lines, and the comment before it."""

    kind: str
    code: str
    mark: str
    line: int


def blocks(page):
    text = page.read_text()
    return [
        Block(m["kind"], m["code"], m["mark"] or "", text[: m.start("code")].count("\n"))
        for m in FENCE.finditer(text)
    ]


def runnable(page):
    return [b for b in blocks(page) if b.kind in ("python", "bash")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the examples, as a clone of the repository has."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "page", [p for p in PAGES if runnable(p)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_block_runs(page, place, monkeypatch, capsys):
    if page.parent.parent == ROOT / "examples":  # its Python stands beside its data
        monkeypatch.syspath_prepend(str(page.parent))
        for data in page.parent.glob("*.csv"):
            (place / data.name).symlink_to(data)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    namespace = {"__name__": "page"}
    for block in blocks(page):
        head, _, word = block.mark.partition(": ")
        if head == "file":
            (place / word).write_text(block.code)
        elif head == "needs" and not _installed(word):
            continue
        elif block.kind == "python":
            code = block.code.replace("budget=60", "budget=5")
            exec(compile("\n" * block.line + code, str(page), "exec"), namespace)
        elif block.kind == "bash":
            _run_lines(block.code, fully=page in RUN)
    capsys.readouterr()


def _installed(library):
    try:
        needs(library)
    except pytest.skip.Exception:
        return False
    return True


def _run_lines(code, fully):
    for line in code.splitlines():
        if line.startswith("taut "):
            arguments = shlex.split(line, comments=True)[1:]
            if fully:
                again = ["--force"] if "--out" in arguments else []
                assert main([*arguments, *again]) in (0, 3), line
            else:
                options = build_parser().parse_args(arguments)
                if getattr(options, "model", None):
                    read_call(options.model, options.data, options.settings)
        elif line and not line.startswith(FOREIGN):
            subprocess.run(["bash", "-c", line], check=True)
