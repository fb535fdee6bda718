"""`taut fit` with the real engine, on the published data of `examples/hogg`."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from taut.cli import main
from taut.cli.results_folder import FILES

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = str(EXAMPLES / "hogg" / "model.py")
DATA = str(EXAMPLES / "hogg" / "data.csv")
SITES = {"theta", "b_perp", "outlier_fraction", "background_mean", "background_sd"}
EXIT_CODES = {"trusted": 0, "usable": 0, "not trusted": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One fit in a process of its own, as a user would run it."""
    folder = tmp_path_factory.mktemp("fit") / "deep" / "out"
    done = subprocess.run(
        [sys.executable, "-m", "taut.cli", "fit", MODEL, "--data", DATA, "--out", str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done, folder


@pytest.fixture(scope="module")
def trust(run):
    return json.loads((run[1] / "trust.json").read_text())


def fit(*arguments):
    return main(["fit", MODEL, "--data", DATA, "--quiet", *map(str, arguments)])


def start(model, *options):
    return subprocess.Popen(
        [sys.executable, "-m", "taut.cli", "fit", model, "--data", DATA, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_exit_code_says_whether_to_believe_the_fit(run, trust):
    assert run[0].returncode == EXIT_CODES[trust["trust"]], run[0].stderr


def test_an_empty_name_of_a_file_is_not_no_file(capsys, tmp_path):
    assert main(["fit", MODEL, "--data", "", "--out", str(tmp_path / "out")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_line_of_the_paper_is_found(run):
    with (run[1] / "summary.csv").open() as file:
        rows = {row["scalar"]: row for row in csv.DictReader(file)}
    assert set(rows) == SITES | {"slope", "intercept"}
    # Hogg et al. (2010), section 1, figure 1: without the four outliers the line is
    # y = 2.24 x + 34, with standard errors of 0.11 and 18: the mixture stays within them.
    assert abs(float(rows["slope"]["mean"]) - 2.24) < 0.11
    assert abs(float(rows["intercept"]["mean"]) - 34) < 18


def test_stdout_is_the_summary_and_stderr_the_progress(run):
    done, folder = run
    assert done.stdout == (folder / "summary.txt").read_text()
    assert "theta" in done.stdout
    assert "Traceback" not in done.stderr
    assert "x=column:x, sigma_y=column:sigma_y, y=column:y" in done.stderr
    assert f"into {folder}" in done.stderr


def test_all_files_are_there_and_no_others(run):
    assert sorted(os.listdir(run[1])) == sorted(FILES)


def test_the_plots_are_pictures(run):
    for name in ("corner.png", "loss.png"):
        assert (run[1] / name).read_bytes().startswith(b"\x89PNG\r\n")


def test_trust_json_has_what_is_needed_to_judge_and_repeat(trust):
    assert trust["seed"] == 0
    assert trust["data"] == DATA
    assert trust["model"] == f"{MODEL}:model"
    assert trust["arguments"] == {"x": "column:x", "sigma_y": "column:sigma_y", "y": "column:y"}
    assert set(trust["versions"]) >= {"taut", "python", "jax", "numpyro", "numpy"}
    assert trust["verdict"]["message"]
    assert {finding["level"] for finding in trust["findings"]} <= {"good", "doubt", "bad", "note"}
    assert trust["findings"]


def test_the_posterior_can_be_read_back(run):
    import taut

    loaded = taut.load(run[1] / "posterior.npz")
    assert set(loaded.sample(10)) == SITES | {"slope", "intercept"}


def test_json_is_one_object_and_nothing_else(capsys, trust):
    code = fit("--json", "--set", "y=column:y")
    record = json.loads(capsys.readouterr().out)
    assert code == EXIT_CODES[record["trust"]]
    assert set(record["summary"]) == SITES | {"slope", "intercept"}
    assert record["files"] == []
    assert record["trust"] == trust["trust"]
    assert record["log_evidence"] == trust["log_evidence"]


def test_quiet_says_nothing_on_stderr(capsys):
    fit("--guide", "mean-field")
    out, err = capsys.readouterr()
    assert err == ""
    assert "mean-field" in out


def test_results_are_written_over_only_with_force(capsys, tmp_path):
    (tmp_path / "trust.json").write_text("old")
    assert fit("--out", tmp_path) == 2
    assert (tmp_path / "trust.json").read_text() == "old"
    assert fit("--out", tmp_path, "--force", "--seed", 3) != 2
    assert json.loads((tmp_path / "trust.json").read_text())["seed"] == 3


def test_an_unknown_guide_is_bad_input(capsys):
    assert fit("--guide", "full-rnk") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "full-rank" in err
    assert "Traceback" not in err


def test_data_that_the_model_refuses_are_bad_input(capsys, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("x,sigma_y,y\n1,inf,2\n2,1,nan\n3,1,4\n")
    assert main(["fit", MODEL, "--data", str(data), "--quiet", "--guide", "full-rnk"]) == 2
    said = capsys.readouterr().err
    assert "3 problems" in said
    assert "site 'y': the data (y) are NaN in 1 of 3 places, at row 1" in said
    assert "argument 'sigma_y' is infinite in 1 of 3 places, at row 0" in said
    assert "full-rank" in said


def test_data_that_reach_no_observed_site_are_bad_input(capsys, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("x,sigma_y,flux\n1,1,2\n2,1,3\n")
    assert main(["fit", MODEL, "--data", str(data)]) == 2
    err = capsys.readouterr().err
    assert "columns not used: flux" in err
    assert "is observed, so the data do not matter" in err


def test_arguments_named_like_options_and_prints_of_the_model_do_no_harm(capsys, tmp_path):
    (tmp_path / "model.py").write_text(
        "import numpyro\nimport numpyro.distributions as dist\n"
        "print('loading')\n"
        "def model(seed, progress, guide=None):\n"
        "    print('running')\n"
        "    mean = numpyro.sample('mean', dist.Normal(0.0, 10.0))\n"
        "    with numpyro.plate('rows', len(seed)):\n"
        "        numpyro.sample('obs', dist.Normal(mean + 0 * seed, progress), obs=guide)\n"
    )
    generator = np.random.default_rng(5)
    values = generator.normal(3.0, 1.0, size=50)
    np.savez(tmp_path / "data.npz", seed=np.zeros(50), guide=values)
    model, data = str(tmp_path / "model.py"), str(tmp_path / "data.npz")
    code = main(["fit", model, "--data", data, "--set", "progress=1.0", "--json", "--quiet"])
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert code == 0
    assert "loading" in err
    # The conjugate posterior: precision 50 + 1/100.
    precision = 50 + 0.01
    row = record["summary"]["mean"]
    assert abs(row["mean"] - values.sum() / precision) < 5 * row["mcse"]


def test_a_reader_that_leaves_early_is_no_traceback():
    with start(MODEL, "--quiet") as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=300) == 141


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to a process")
def test_ctrl_c_before_there_is_a_result(tmp_path):
    model = tmp_path / "slow.py"
    model.write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    with start(str(model)) as process:
        assert process.stderr.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err == "taut fit: interrupted.\n"
