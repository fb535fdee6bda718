import ast
import subprocess
import sys
from pathlib import Path

import pytest

import taut

ROOT = Path(taut.__file__).parent
ORDER = [
    "_core",
    "targets",
    "guides",
    "objectives",
    "solvers",
    "loop",
    "posterior",
    "diagnostics",
    "report",
    "results",
    "fitting",
    "cli",
]
FILES = sorted(ROOT.rglob("*.py"))


def stage_of(path):
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported_stages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("taut."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("taut."):
                    yield alias.name.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_stage_imports_only_from_stages_above_it(path):
    stage = stage_of(path)
    if stage == "__init__":
        return
    allowed = ORDER[: ORDER.index(stage) + 1]
    assert set(imported_stages(path)) <= set(allowed)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


def in_fresh_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_importing_taut_imports_no_numerical_library():
    done = in_fresh_process(
        "import sys, taut; print([m for m in ('jax', 'numpy', 'numpyro') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", taut.__all__)
def test_fit_stays_the_function_whatever_is_used_first(name):
    done = in_fresh_process(f"import taut; taut.{name}; print(type(taut.fit).__name__)")
    assert done.stdout.strip() == "function", done.stderr
