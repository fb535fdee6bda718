"""`taut predict`, `report`, `compare` and `check`, on fits of a small model in a file."""

import csv
import json

import numpy as np
import pytest
from extras import needs

from taut.cli import main

MODEL = """
import numpyro
import numpyro.distributions as dist

def model(x, seed=1.0, y=None):
    print("reading")
    a = numpyro.sample("a", dist.Normal(0.0, 10.0))
    b = numpyro.sample("b", dist.Normal(0.0, 10.0))
    numpyro.sample("y", dist.Normal(a + b * x, seed), obs=y)
"""


GUIDES = """
import numpyro
import numpyro.distributions as dist

def model(x, y=None):
    a = numpyro.sample("a", dist.Normal(0.0, 10.0))
    b = numpyro.sample("b", dist.Normal(0.0, 10.0))
    numpyro.sample("y", dist.Normal(a + b * x, 1.0), obs=y)

def good(x, y=None):
    numpyro.sample("a", dist.Normal(numpyro.param("m", 0.0), 1.0))
    numpyro.sample("b", dist.Normal(numpyro.param("n", 0.0), 1.0))

def partial(x, y=None):
    numpyro.sample("a", dist.Normal(numpyro.param("m", 0.0), 1.0))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, data, and two fits of them."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "model.py").write_text(MODEL)
    x = np.linspace(0.0, 3.0, 30)
    y = 1.0 + 2.0 * x + np.random.default_rng(4).normal(size=30)
    np.savetxt(folder / "data.csv", np.c_[x, y], delimiter=",", header="x,y", comments="")
    (folder / "new.csv").write_text("x\n1.5\n10.0\n")
    for guide in ("full-rank", "mean-field"):
        code = main(
            [
                *("fit", str(folder / "model.py"), "--data", str(folder / "data.csv"), "--quiet"),
                *("--out", str(folder / guide), "--guide", guide),
            ]
        )
        assert code == 0
    return folder


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def predict(capsys, place, *more):
    return run(
        capsys,
        *("predict", place / "full-rank", place / "model.py", "--data", place / "new.csv", *more),
    )


def test_predictions_are_printed_with_their_spread(capsys, place):
    code, out, err = predict(capsys, place)
    assert code == 0
    assert "x=column:x" in err
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["y[0]", "y[1]"]


def test_predictions_as_json_agree_with_the_closed_form(capsys, place, within_error):
    code, out, err = predict(capsys, place, "--json", "--quiet")
    record = json.loads(out)
    assert code == 0
    assert err == "reading\n" * err.count("reading\n")
    assert record["trust"] in ("trusted", "usable")
    x, y = np.loadtxt(place / "data.csv", delimiter=",", skiprows=1).T
    design = np.c_[np.ones(30), x]
    covariance = np.linalg.inv(design.T @ design + np.eye(2) / 100)
    for name, at in (("y[0]", 1.5), ("y[1]", 10.0)):
        row = np.array([1.0, at])
        sd = np.sqrt(row @ covariance @ row + 1.0)
        found = record["predictions"][name]
        within_error(found["mean"], row @ covariance @ design.T @ y, sd / np.sqrt(4000))
        within_error(found["sd"], sd, sd / np.sqrt(2 * 4000))


def test_predictions_go_into_files(capsys, place, tmp_path):
    assert predict(capsys, place, "--out", tmp_path / "p.npz", "--draws", 50)[:2] == (0, "")
    with np.load(tmp_path / "p.npz") as draws:
        assert draws["y"].shape == (50, 2)
    predict(capsys, place, "--out", tmp_path / "p.csv")
    with (tmp_path / "p.csv").open() as file:
        rows = {row["value"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"y[0]", "y[1]"}
    assert float(rows["y[0]"]["5%"]) < float(rows["y[0]"]["mean"]) < float(rows["y[0]"]["95%"])
    code, _, err = predict(capsys, place, "--out", tmp_path / "p.csv")
    assert code == 2
    assert "add --force" in err
    assert predict(capsys, place, "--out", tmp_path / "p.csv", "--force", "--quiet")[0] == 0


def test_arguments_named_like_options_reach_the_model(capsys, place):
    narrow = json.loads(predict(capsys, place, "--json", "--set", "seed=0.001")[1])
    wide = json.loads(predict(capsys, place, "--json", "--set", "seed=5.0")[1])
    assert narrow["predictions"]["y[0]"]["sd"] < 0.5
    assert wide["predictions"]["y[0]"]["sd"] > 4.5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "there is no fit at nowhere"),
        (["{place}/full-rank", "--out", "p.txt"], "must end in .csv or .npz"),
        (["{place}/full-rank", "--anew", "c"], "the fit has no latent site 'c'"),
        (["{place}/full-rank", "--data", "{place}/data.txt"], "cannot be read"),
        (["{place}/model.py"], "not a file written by fit.save"),
    ],
)
def test_bad_input_is_told(capsys, place, arguments, sentence):
    fit, *more = [text.format(place=place) for text in arguments]
    data = [] if "--data" in more else ["--data", place / "new.csv"]
    code, out, err = run(capsys, "predict", fit, place / "model.py", *data, *more)
    assert code == 2
    assert out == ""
    assert sentence in err


def test_a_fit_leaves_its_report(place):
    page = (place / "full-rank" / "report.html").read_text()
    assert "Can I believe it?" in page
    assert "Predictive check" in page


def test_a_report_is_made_of_a_stored_fit(capsys, place, tmp_path):
    out = tmp_path / "fit.html"
    code, _, err = run(capsys, "report", place / "mean-field", "--out", out, "--title", "A <b>line")
    assert code == 0
    assert f"wrote {out}" in err
    assert "A &lt;b&gt;line" in out.read_text()
    code, _, err = run(capsys, "report", place / "mean-field")
    assert code == 2
    assert "report.html is there already" in err
    code, text, _ = run(capsys, "report", place / "mean-field", "--out", out, "--force", "--json")
    assert json.loads(text)["files"] == [str(out)]


def test_data_without_their_model_are_told(capsys, place, tmp_path):
    code, _, err = run(
        capsys, "report", place / "full-rank", "--out", tmp_path / "r.html", "--set", "seed=1"
    )
    assert code == 2
    assert "name it with --model" in err


def test_a_fit_that_is_not_trusted_says_so_to_scripts(capsys, place, tmp_path):
    import taut

    fit = taut.load(place / "full-rank" / "posterior.npz")
    object.__setattr__(fit._record, "trust", "not trusted")
    fit.save(tmp_path / "doubtful.npz")
    code, _, err = run(
        capsys,
        *("predict", tmp_path / "doubtful.npz", place / "model.py", "--data", place / "new.csv"),
    )
    assert code == 3
    assert "the fit is 'not trusted'" in err
    compared = run(capsys, "compare", place / "full-rank", tmp_path / "doubtful.npz")
    assert compared[0] == 3


def test_fits_are_compared(capsys, place):
    code, out, _ = run(capsys, "compare", place / "full-rank", place / "mean-field")
    assert code == 0
    assert "differences from full-rank" in out
    record = json.loads(
        run(
            capsys,
            *("compare", place / "full-rank", place / "mean-field", "--json"),
            *("--reference", "mean-field"),
        )[1]
    )
    assert record["reference"] == "mean-field"
    assert record["entries"]["mean-field"]["difference"] == {"a": 0.0, "b": 0.0}
    code, _, err = run(capsys, "compare", place / "full-rank", place / "full-rank")
    assert code == 2
    assert "named twice" in err


def test_a_guide_is_checked(capsys, place, tmp_path):
    model, data = tmp_path / "guides.py", place / "data.csv"
    model.write_text(GUIDES)
    code, out, err = run(capsys, "check", model, "good", "--data", data)
    assert code == 0, out + err
    code, out, _ = run(capsys, "check", model, "partial", "--data", data, "--json")
    record = json.loads(out)
    assert code == 2
    assert not record["ok"]
    assert "b" in record["problems"][0]["found"]
    allowed = ("--prior-ok", "b", "--quiet")
    assert run(capsys, "check", model, "partial", "--data", data, *allowed)[0] == 0


def test_an_arviz_tree_holds_the_fit_and_its_data(capsys, place):
    needs("arviz_base", "h5netcdf")
    import xarray as xr

    model = place / "model.py"
    options = ("--guide", "full-rank", "--json", "--quiet")
    first = run(
        *(capsys, "fit", model, "--data", place / "data.csv", "--out", place / "tree", "--arviz"),
        *options,
    )
    assert first[0] == 0
    tree = place / "tree" / "arviz.nc"
    assert str(tree) in json.loads(first[1])["files"]
    with xr.open_datatree(tree, engine="h5netcdf") as groups:
        assert {"posterior", "posterior_predictive", "log_likelihood"} <= set(groups.children)
    again = run(capsys, "fit", model, "--data", tree, *options)
    assert json.loads(again[1])["summary"] == json.loads(first[1])["summary"]


def test_an_arviz_tree_needs_a_folder(capsys, place):
    code, _, err = run(capsys, "fit", place / "model.py", "--data", place / "data.csv", "--arviz")
    assert code == 2
    assert err.endswith("taut fit: --arviz writes arviz.nc into the folder of --out: give one\n")


def test_predictions_are_written_as_netcdf(capsys, place):
    needs("arviz_base", "h5netcdf")
    import xarray as xr

    out = place / "new.nc"
    code, _, _ = predict(capsys, place, "--out", out, "--draws", 50, "--quiet")
    assert code == 0
    with xr.open_datatree(out, engine="h5netcdf") as tree:
        assert tree["predictions"]["y"].shape == (1, 50, 2)
        assert tree.attrs["trust"] == "trusted"
