import sys

import pytest

from taut._core.errors import InputError
from taut.cli.model_function import load_model

SAMPLES = "import numpyro\nfrom numpyro import sample\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write_file(text, name="file.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return name

    yield write_file
    for name in set(sys.modules) - before:
        if name.startswith("_taut_model_") or name in ("neighbour", "models_here"):
            del sys.modules[name]


def refusal(text):
    with pytest.raises(InputError) as caught:
        load_model(text)
    return str(caught.value)


def test_the_function_called_model_is_taken(write):
    source = write(SAMPLES + "def other():\n    sample('a')\ndef model():\n    sample('b')\n")
    found = load_model(source)
    assert found.function.__name__ == "model"
    assert found.label == "file.py:model"
    assert not found.guessed


def test_else_the_only_one_that_samples(write):
    source = write(
        SAMPLES
        + "def helper(x):\n    return x\n"
        + "def _part():\n    sample('a')\n"
        + "def growth():\n    numpyro.sample('b', None)\n"
    )
    found = load_model(source)
    assert found.label == "file.py:growth"
    assert found.guessed


def test_sampling_in_a_function_inside_counts(write):
    source = write(SAMPLES + "def scan():\n    def step():\n        sample('a')\n    return step\n")
    assert load_model(source).label == "file.py:scan"


def test_decorated_models_are_found(write):
    source = write(
        SAMPLES + "@numpyro.handlers.reparam(config={})\ndef growth(x):\n    sample('b')\n"
    )
    assert load_model(source).label == "file.py:growth"


def test_imported_functions_are_not_candidates(write):
    write(SAMPLES + "def theirs():\n    sample('a')\n", "neighbour.py")
    source = write(SAMPLES + "from neighbour import theirs\ndef ours():\n    sample('b')\n")
    assert load_model(source).label == "file.py:ours"


def test_several_candidates_have_to_be_chosen_from(write):
    source = write(SAMPLES + "def a():\n    sample('a')\ndef b():\n    sample('b')\n")
    assert refusal(source) == (
        "file.py has 2 functions that sample; say which: file.py:a or file.py:b"
    )
    assert load_model("file.py:b").label == "file.py:b"


def test_no_candidate(write):
    assert "has no function called 'model', and none that calls numpyro.sample" in refusal(
        write("def helper():\n    pass\n")
    )


def test_a_function_that_is_not_there(write):
    write(SAMPLES + "width = 3\ndef growth():\n    sample('a')\n")
    assert refusal("file.py:grwth") == (
        "file.py has no function 'grwth' (did you mean 'growth'?); its functions are growth"
    )
    assert "has a 'width' that is no function" in refusal("file.py:width")


def test_a_file_is_loaded_like_a_script_beside_its_neighbours(write):
    write("WIDTH = 3\n", "folder/neighbour.py")
    source = write("from neighbour import WIDTH\ndef model():\n    pass\n", "folder/file.py")
    assert load_model(source).function.__globals__["WIDTH"] == 3


def test_a_file_named_like_a_library_does_not_replace_it(write):
    import numpy

    load_model(write("def model():\n    pass\n", "numpy.py"))
    assert sys.modules["numpy"] is numpy


def test_dataclasses_work_in_a_model_file(write):
    source = write(
        "from dataclasses import dataclass\n@dataclass\nclass Prior:\n    width: 'float' = 1.0\n"
        "def model():\n    return Prior()\n"
    )
    assert load_model(source).function().width == 1.0


def test_a_module_of_the_working_folder(write):
    write("def growth():\n    pass\n", "models_here.py")
    found = load_model("models_here:growth")
    assert found.label == "models_here:growth"
    assert found.function.__module__ == "models_here"


@pytest.mark.parametrize(
    "text", ["no_such_module:model", "no.such.module:model", "os.nothing:model"]
)
def test_a_module_that_is_not_there(text):
    assert f"there is no module {text.split(':')[0]!r} to import" in refusal(text)


@pytest.mark.parametrize("text", ["nothing.py", "folder/nothing.py:model"])
def test_a_file_that_is_not_there(write, text):
    assert "there is no model file" in refusal(text)
    assert "path/file.py:function or module:function" in refusal(text)


@pytest.mark.parametrize(
    "text", ["model", "data.csv", "", ":", "file.py:", "..:model", "data.csv:"]
)
def test_what_names_no_model(text):
    assert "does not name a model; write it as path/file.py" in refusal(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1\ny = nme\n", "could not be loaded: NameError: name 'nme' is not defined at"),
        ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("raise SystemExit(3)\n", "could not be loaded: SystemExit: 3"),
        ("x = 1\ndef model(:\n", "file.py is not valid Python: invalid syntax"),
    ],
)
def test_a_file_that_fails_says_where(write, text, sentence):
    message = refusal(write(text))
    assert sentence in message
    assert "file.py:" in message or "file.py, line 2" in message
