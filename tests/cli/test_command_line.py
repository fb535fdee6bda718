import subprocess
import sys
from pathlib import Path

import pytest

from taut.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = str(EXAMPLES / "hogg" / "model.py")
DATA = str(EXAMPLES / "hogg" / "data.csv")

HEAVY = ("jax", "jaxlib", "numpyro", "numpy", "scipy", "matplotlib", "pandas")
WITHOUT_HEAVY = f"""
import sys
from taut.cli import main
try:
    main(sys.argv[1:])
except SystemExit as leaving:
    assert leaving.code in (0, None), leaving.code
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""


def refusal(capsys, *arguments):
    """Runs a command that must be refused, and returns what it said."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    return err


COMMANDS = ("fit", "predict", "report", "compare", "check")


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in COMMANDS), ["--version"], []]
)
def test_help_and_version_import_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HEAVY, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "taut" in done.stdout + done.stderr


def test_the_module_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "taut.cli", "fit", MODEL, "--data", "nothing.csv"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "taut fit: the data file nothing.csv cannot be read: No such file or directory\n"
    )


def test_no_command_prints_the_help_and_fails(capsys):
    assert "usage: taut" in refusal(capsys)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", MODEL], "the following arguments are required: --data"),
        (["fit", MODEL, "--data", DATA, "--seed", "-1"], "'-1' is not a whole number of 0 or more"),
        (["fit", MODEL, "--data", DATA, "--seed", "x"], "'x' is not a whole number of 0 or more"),
        (["fit", MODEL, "--data", DATA, "--budget", "0"], "not a number of seconds above 0"),
        (["fit", MODEL, "--data", DATA, "--budget", "nan"], "not a number of seconds above 0"),
        (["fit", MODEL, "--data", DATA, "--budget", "1m"], "not a number of seconds above 0"),
        (["fit", MODEL, "--dat", DATA], "the following arguments are required: --data"),
        (["predict", "out", MODEL, "--draws", "0"], "'0' is not a whole number of 1 or more"),
        (["fti"], "invalid choice: 'fti'"),
    ],
)
def test_a_wrong_command_line_is_refused_by_the_parser(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_missing_column_says_which_and_what_there_is(capsys, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("x,y,err\n1,2,3\n")
    assert refusal(capsys, "fit", MODEL, "--data", data) == (
        f"taut fit: the model's argument 'sigma_y' has no column in {data}; the columns are "
        "x, y, err; choose one with --set sigma_y=column:COL or give a number with "
        "--set sigma_y=NUMBER\n"
    )


def test_all_that_is_wrong_with_the_data_is_said_at_once(capsys, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("x,y\n1,2\n3,bad\n4\n")
    said = refusal(capsys, "fit", MODEL, "--data", data, "--set", "z=1")
    assert "4 problems" in said
    assert "the header names 2 columns, but line 4 has 1" in said
    assert "the model takes no argument 'z'" in said
    assert "'sigma_y' has no column" in said
    assert "line 3 ('bad')" in said


def test_all_that_is_wrong_with_files_and_options_is_said_at_once(capsys, tmp_path):
    (tmp_path / "summary.csv").write_text("old")
    said = refusal(
        capsys,
        *("fit", "nothing.py", "--data", "nothing.csv", "--out", tmp_path),
        *("--set", "z", "--guide", "full-rnk"),
    )
    assert "5 problems" in said
    assert "already holds summary.csv" in said
    assert "--set z: write it as" in said
    assert "the data file nothing.csv cannot be read" in said
    assert "there is no model file nothing.py" in said
    assert "did you mean 'full-rank'?" in said
    assert "--force" in said
    assert (tmp_path / "summary.csv").read_text() == "old"


def test_a_file_without_a_model_is_told_with_what_is_wrong_in_it(capsys, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("x,y\n1,2\n4\n")
    said = refusal(capsys, "check", "nothing.py", "guide", "--data", data)
    assert "2 problems" in said
    assert "the header names 2 columns, but line 3 has 1" in said


@pytest.mark.parametrize("wrong", [("--set", "z=1"), ("--guide", "full-rnk"), ("--set", "y=nan")])
def test_bad_input_leaves_no_folder_behind(capsys, tmp_path, wrong):
    refusal(capsys, "fit", MODEL, "--data", DATA, "--quiet", "--out", tmp_path / "out", *wrong)
    assert not (tmp_path / "out").exists()


def test_several_settings_may_follow_one_option(capsys, tmp_path):
    said = refusal(capsys, "fit", MODEL, "--data", DATA, "--set", "a=1", "b=2", "--set", "c=3")
    assert all(f"the model takes no argument {name!r}" in said for name in "abc")


def test_a_model_that_cannot_be_loaded_is_no_traceback(capsys, tmp_path):
    model = tmp_path / "broken.py"
    model.write_text("import no_such_thing\n")
    assert "ModuleNotFoundError" in refusal(capsys, "fit", model, "--data", DATA)
