import ast
import functools
import pathlib

import pytest

import taut

SOURCE = pathlib.Path(taut.__file__).parent

# Each stage imports only from those before it.
ORDER = (
    "_core",
    "targets",
    "guides",
    "checking",
    "objectives",
    "solvers",
    "posterior",
    "loop",
    "diagnostics",
    "predictive",
    "report",
    "mcmc",
    "results",
    "infer",
    "fitting",
    "cli",
)

MOST_LINES = 400

FILES = sorted(SOURCE.rglob("*.py"))


def _module(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def _tree(path):
    return ast.parse(path.read_text())


def _imports(tree):
    """Modules that a file names in an import statement, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def _graph():
    modules = {_module(path): path for path in FILES}
    return {name: (set(_imports(_tree(p))) & set(modules)) - {name} for name, p in modules.items()}


def _stage(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def test_every_module_belongs_to_a_stage():
    stages = {_stage(module) for module in _graph()} - {None}
    assert stages == set(ORDER)


@pytest.mark.parametrize("stage", ORDER)
def test_a_stage_imports_nothing_from_later_stages(stage):
    allowed = {*ORDER[: ORDER.index(stage) + 1], None}
    upward = [
        f"{module} imports {other}"
        for module, others in _graph().items()
        if _stage(module) == stage
        for other in others
        if _stage(other) not in allowed
    ]
    assert upward == []


def test_imports_inside_functions_count():
    tree = ast.parse("def f():\n    from taut.cli import main\n    import taut.fitting\n")
    assert {"taut.cli", "taut.fitting"} <= set(_imports(tree))


def test_no_module_imports_itself_through_others():
    # The package itself is left out: its names are imported when first used.
    graph = {m: o - {"taut"} for m, o in _graph().items() if m != "taut"}
    done: set[str] = set()

    def visit(module, above):
        assert module not in above, " -> ".join([*above, module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, [*above, module])
            done.add(module)

    for module in graph:
        visit(module, [])
    assert done == set(graph)


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_a_file_is_short_and_opens_with_a_docstring(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES
    assert ast.get_docstring(_tree(path))


def test_public_names_resolve():
    assert len(set(taut.__all__)) == len(taut.__all__)
    for name in taut.__all__:
        assert getattr(taut, name) is not None
    assert set(dir(taut)) == set(taut.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        taut.nonsense  # noqa: B018


def test_importing_the_package_imports_no_library(run_python):
    code = (
        "import sys, taut\n"
        "assert taut.__version__\n"
        "heavy = {'jax', 'numpy', 'numpyro', 'scipy', 'matplotlib', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run_python(code).strip() == "[]"


def test_fit_stays_the_function_whatever_is_used_first(run_python):
    # Importing a submodule sets an attribute of the package, which could hide a public name. Each
    # name is used first in a process of its own, forked after the heavy libraries are in.
    code = """
import os, warnings
import jax, numpyro, scipy.linalg, threadpoolctl
import taut
warnings.simplefilter("ignore")
for name in taut.__all__:
    pid = os.fork()
    if pid == 0:
        getattr(taut, name)
        right = type(taut.fit).__name__ == "function"
        right = right and all(type(getattr(taut, n)).__name__ != "module" for n in taut.__all__)
        os._exit(0 if right else 1)
    _, status = os.waitpid(pid, 0)
    print(name, status)
"""
    assert run_python(code).splitlines() == [f"{name} 0" for name in taut.__all__]
