"""The ArviZ tree: groups, names, attributes, and what ArviZ makes of it."""

import json
import sys

import arviz_stats
import numpy as np
import pytest
import xarray as xr

from taut._core.errors import InputError, MissingExtraError
from taut.report.arviz import to_arviz

DRAWS = 300
ATTRIBUTES = {
    "trust": "usable",
    "taut_version": "0.1.0",
    "seed": np.int64(3),
    "guide": "full-rank",
    "draws": "no Markov chain",
    "converged": True,
    "options": {"budget": None},
}


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    posterior = {
        "theta": rng.normal(size=DRAWS),
        "slope": rng.normal(size=(DRAWS, 3)),
        "inner/scale": rng.gamma(2.0, size=DRAWS).astype(np.float32),
        "flag": rng.random(DRAWS) < 0.5,
    }
    stats = {name: rng.normal(size=DRAWS) for name in ("log_p", "log_q", "weights")}
    return {"posterior": posterior, "sample_stats": stats, "observed_data": {"y": np.arange(5.0)}}


@pytest.fixture
def tree(parts):
    dims = {"slope": ["group"], "y": ["row"]}
    return to_arviz(parts, ATTRIBUTES, dims, {"group": ["a", "b", "c"]})


def test_groups_and_dimensions(tree, parts):
    assert set(tree.children) == {"posterior", "sample_stats", "observed_data"}
    assert dict(tree["posterior"].sizes) == {"chain": 1, "draw": DRAWS, "group": 3}
    assert tree["observed_data"]["y"].dims == ("row",)
    slope = tree["posterior"]["slope"].sel(chain=0, group="b")
    np.testing.assert_array_equal(slope, parts["posterior"]["slope"][:, 1])
    np.testing.assert_array_equal(tree["sample_stats"]["log_q"][0], parts["sample_stats"]["log_q"])


def test_attributes_say_what_the_draws_are(tree):
    for group in (tree, tree["posterior"]):
        assert group.attrs["trust"] == "usable"
        assert group.attrs["seed"] == 3
        assert json.loads(group.attrs["options"]) == {"budget": None}
        assert group.attrs["draws"] == ATTRIBUTES["draws"]
        assert all(type(group.attrs[name]) in (str, int, float) for name in tree.attrs)


def test_slashes_do_not_become_groups(tree):
    assert "inner.scale" in tree["posterior"]
    assert json.loads(tree.attrs["renamed_sites"]) == {"inner.scale": "inner/scale"}


def test_netcdf_round_trip(tree, tmp_path):
    tree.to_netcdf(tmp_path / "fit.nc")
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as back:
        for group in tree.children:
            xr.testing.assert_identical(
                back[group].to_dataset().drop_attrs(), tree[group].to_dataset().drop_attrs()
            )
            # ArviZ's own attributes, such as a list of dimensions, come back as arrays.
            assert set(back[group].attrs) == set(tree[group].attrs)
            for name, value in tree[group].attrs.items():
                assert np.array_equal(back[group].attrs[name], value)


def test_arviz_summarises_it_without_an_r_hat(tree, parts):
    table = arviz_stats.summary(tree, round_to="none")
    assert list(table.index) == [
        *("theta", "slope[a]", "slope[b]", "slope[c]", "inner.scale", "flag"),
    ]
    assert table.loc["theta", "mean"] == pytest.approx(parts["posterior"]["theta"].mean())
    assert table["r_hat"].isna().all()


def test_empty_groups_are_left_out(parts):
    tree = to_arviz({**parts, "sample_stats": {}, "observed_data": {}}, {})
    assert set(tree.children) == {"posterior"}


def test_all_mistakes_are_told_at_once(parts):
    with pytest.raises(InputError) as told:
        to_arviz(parts, {}, {"slop": ["g"], "slope": ["chain", "g"], "y": ["row"]}, {"row": [1]})
    message = str(told.value)
    assert "no site is called 'slop' (did you mean 'slope'?)" in message
    assert "site 'slope' has shape (3,), so it takes 1 names, not 2" in message
    assert "'row' has 1 values, but its dimension has length 5" in message


def test_a_clash_of_names_is_told():
    draws = {"a/b": np.ones(3), "a.b": np.ones(3)}
    with pytest.raises(InputError, match="'a/b' would have the name of another site"):
        to_arviz({"posterior": draws}, {})


def test_without_arviz_the_error_says_how_to_get_it(parts, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taut\[arviz\]'"):
        to_arviz(parts, {})
