"""A fit in a file: all of it comes back bit for bit, and nothing else is taken for one."""

import dataclasses
import io
import json
import os
import zipfile

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import taut
from taut._core.errors import InputError
from taut.results import archive
from taut.results.archive import read, save

GUIDES = ("full-rank", "mean-field", "low-rank")


def assert_same(one, two, where="record"):
    """Check that two records are equal to the last bit, floating type included."""
    if isinstance(one, np.ndarray) or hasattr(one, "__array__"):
        one, two = np.asarray(one), np.asarray(two)
        assert one.dtype == two.dtype, where
        np.testing.assert_array_equal(one, two, err_msg=where)
    elif dataclasses.is_dataclass(one):
        assert type(one) is type(two), where
        for field in dataclasses.fields(one):
            name = field.name
            assert_same(getattr(one, name), getattr(two, name), f"{where}.{name}")
    elif isinstance(one, dict):
        assert list(one) == list(two), where
        for key in one:
            assert_same(one[key], two[key], f"{where}[{key!r}]")
    elif isinstance(one, (list, tuple)):
        assert type(one) is type(two), where
        assert len(one) == len(two), where
        for number, pair in enumerate(zip(one, two, strict=True)):
            assert_same(*pair, f"{where}[{number}]")
    elif isinstance(one, float):
        assert isinstance(two, float), where
        assert one == two or (np.isnan(one) and np.isnan(two)), where
    else:
        assert type(one) is type(two), where
        assert one == two, where


@pytest.fixture(scope="module")
def fits(regression):
    """A fit with each kind of guide."""
    return {
        guide: taut.fit(regression.model, regression.x, y=regression.y, guide=guide, progress=False)
        for guide in GUIDES
    }


@pytest.mark.parametrize("guide", GUIDES)
def test_every_field_comes_back_bit_for_bit(fits, guide, tmp_path):
    record = fits[guide]._record
    save(record, tmp_path / "fit.npz")
    assert_same(record, read(tmp_path / "fit.npz"))


def test_a_loaded_table_has_the_same_k_hats(fits, tmp_path):
    fit = fits["full-rank"]
    fit.save(tmp_path / "fit.npz")
    loaded = taut.load(tmp_path / "fit.npz")
    before, after = (f.summary().to_frame()["k_hat"] for f in (fit, loaded))
    assert before.notna().all()
    np.testing.assert_array_equal(before, after)
    # Nor are they lost when what was loaded is saved again.
    loaded.save(tmp_path / "again.npz")
    again = taut.load(tmp_path / "again.npz").summary().to_frame()["k_hat"]
    np.testing.assert_array_equal(before, again)


def test_fields_that_may_be_absent_come_back_absent(fits, tmp_path):
    record = dataclasses.replace(
        fits["full-rank"]._record, weights=None, weighed=None, observed={}, notes=("a note",)
    )
    save(record, tmp_path / "fit.npz")
    assert_same(record, read(tmp_path / "fit.npz"))


def test_numbers_that_are_not_finite_come_back(fits, tmp_path):
    record = fits["full-rank"]._record
    weights = dataclasses.replace(record.weights, k_hat=-np.inf, elbo=(-np.inf, np.inf))
    verdict = dataclasses.replace(record.verdict, expected_gap=float("nan"))
    record = dataclasses.replace(record, weights=weights, verdict=verdict)
    save(record, tmp_path / "fit.npz")
    assert_same(record, read(tmp_path / "fit.npz"))


def test_a_file_holds_arrays_and_json_and_no_pickle(fits, tmp_path):
    fits["full-rank"].save(tmp_path / "fit.npz")
    with np.load(tmp_path / "fit.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)
        json.loads(file["document"].tobytes())


@pytest.mark.parametrize("guide", GUIDES)
def test_without_its_model_a_fit_reports_the_same(fits, guide, tmp_path):
    fit = fits[guide]
    fit.save(tmp_path / "fit.npz")
    loaded = taut.load(tmp_path / "fit.npz")
    for seed in (0, 1):
        one, two = fit.sample(500, seed=seed), loaded.sample(500, seed=seed)
        assert list(one) == list(two)
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    for name in ("trust", "findings", "verdict", "elbo", "log_evidence", "notes", "trace"):
        assert_same(getattr(loaded, name), getattr(fit, name), name)
    assert loaded.mean("a") == fit.mean("a")
    np.testing.assert_array_equal(loaded.covariance("a", "b"), fit.covariance("a", "b"))
    assert str(loaded).splitlines()[0] == str(fit).splitlines()[0]


NEEDS_MODEL = {
    "more draws": lambda fit: fit.sample(100_000),
    "the guide's own draws": lambda fit: fit.sample(10, corrected=False),
    "draws with densities": lambda fit: fit.draws(10),
    "a density": lambda fit: fit.log_prob({"a": 0.0, "b": np.zeros(2)}),
}


@pytest.mark.parametrize("what", NEEDS_MODEL)
def test_what_needs_the_model_says_so_without_it_and_works_with_it(
    what, fits, regression, tmp_path
):
    fit, path = fits["mean-field"], tmp_path / "fit.npz"
    fit.save(path)
    with pytest.raises(taut.InputError, match=r"loaded without its model.*taut\.load\(path"):
        NEEDS_MODEL[what](taut.load(path))
    again = taut.load(path, regression.model, regression.x, y=regression.y)
    found = NEEDS_MODEL[what](again)
    expected = NEEDS_MODEL[what](fit)
    if what == "draws with densities":
        found, expected = vars(found), vars(expected)
    assert_same(found, expected)


def test_a_target_serves_as_the_model(fits, regression, tmp_path):
    path = tmp_path / "fit.npz"
    fits["full-rank"].save(path)
    loaded = taut.load(path, taut.target(regression.model, regression.x, y=regression.y))
    np.testing.assert_array_equal(loaded.draws(5).z, fits["full-rank"].draws(5).z)


def other_names(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)


def test_another_model_is_an_error_that_names_both(fits, regression, tmp_path):
    path = tmp_path / "fit.npz"
    fits["full-rank"].save(path)
    with pytest.raises(taut.InputError) as caught:
        taut.load(path, other_names, regression.x, y=regression.y)
    assert "[('slope', ())]" in str(caught.value)
    assert "[('a', ()), ('b', (2,))]" in str(caught.value)
    # The same names in another shape.
    x = np.ones((12, 3))
    with pytest.raises(taut.InputError, match=r"\('b', \(3,\)\)"):
        taut.load(path, regression.model, x, y=regression.y)


def _truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _other_text(path):
    path.write_text("mean, sd\n1, 2\n")


def _empty(path):
    path.write_bytes(b"")


def _other_arrays(path):
    np.savez(path, a=np.zeros(3))


def _pickle(path):
    with path.open("wb") as file:
        np.savez(file, document=np.array([{"format": 1}], dtype=object))


DAMAGE = {
    "truncated": (_truncate, "not a file written by fit.save, or damaged"),
    "one bit flipped": (_flip_a_bit, "not a file written by fit.save, or damaged"),
    "text": (_other_text, "not a file written by fit.save, or damaged"),
    "empty": (_empty, "not a file written by fit.save, or damaged"),
    "other arrays": (_other_arrays, "not a file written by fit.save"),
    "a pickle": (_pickle, "not a file written by fit.save, or damaged"),
    "missing": (os.remove, "no such file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_is_no_fit_is_refused(kind, fits, tmp_path):
    path = tmp_path / "fit.npz"
    fits["full-rank"].save(path)
    damage, message = DAMAGE[kind]
    damage(path)
    with pytest.raises(taut.InputError, match=message) as caught:
        taut.load(path)
    assert str(path) in str(caught.value)


def test_a_file_of_another_format_is_named_as_such(fits, tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    monkeypatch.setattr(archive, "FORMAT", 99)
    fits["full-rank"].save(path)
    monkeypatch.undo()
    with pytest.raises(taut.InputError, match="file format 99; this version of taut reads"):
        taut.load(path)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(fits, tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    fits["full-rank"].save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(archive.os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        fits["mean-field"].save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["fit.npz"]
    fits["mean-field"].save(path)
    assert taut.load(path).guide_name == "mean-field"


def test_a_file_has_the_usual_permissions(fits, tmp_path):
    fits["full-rank"].save(tmp_path / "fit.npz")
    (tmp_path / "other").write_text("")
    modes = [(tmp_path / name).stat().st_mode for name in ("fit.npz", "other")]
    assert modes[0] == modes[1]


def test_the_container_carries_a_checksum_of_every_array(fits, tmp_path):
    fits["full-rank"].save(tmp_path / "fit.npz")
    with zipfile.ZipFile(io.BytesIO((tmp_path / "fit.npz").read_bytes())) as file:
        assert file.testzip() is None
        assert all(member.CRC for member in file.infolist() if member.file_size)


def test_a_folder_that_is_not_there_is_said(regression_fit, tmp_path):
    for write in (regression_fit.save, regression_fit.report):
        with pytest.raises(InputError, match=r"there is no folder .*nowhere; make it first"):
            write(tmp_path / "nowhere" / "fit")
