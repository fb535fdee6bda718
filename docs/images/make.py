"""Runs the first Python example of the README, and puts its output and its picture in place.

    python docs/images/make.py

The code is taken from the README, so what is shown there is what ran. The picture is written to
`docs/images/hogg.png`, the printed fit into the README's block after the example.
"""

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "images" / "hogg.png"

EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n", re.DOTALL)
OUTPUT = re.compile(r"(?<=<!-- output -->\n)```\n.*?```\n", re.DOTALL)


def main() -> None:
    """Run the example and write what came out."""
    text = README.read_text(encoding="utf-8")
    found = EXAMPLE.search(text)
    if found is None or OUTPUT.search(text) is None:
        raise SystemExit("README.md has no python block, or no block after '<!-- output -->'")
    os.chdir(ROOT)  # the example names its data from the root of the repository
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(found["code"], "README.md", "exec"), names)
    block = f"```\n{printed.getvalue()}```\n"
    README.write_text(OUTPUT.sub(lambda _: block, text), encoding="utf-8")
    names["figure"].savefig(PICTURE, dpi=100)
    print(f"wrote {PICTURE.relative_to(ROOT)} and the output in README.md")


if __name__ == "__main__":
    main()
