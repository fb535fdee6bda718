import os
from pathlib import Path

import pytest

from taut._core.errors import InputError
from taut.cli.results_folder import FILES, check_free, make_folder, whole_file


def test_a_new_or_empty_folder_and_strange_files_are_no_obstacle(tmp_path):
    check_free(tmp_path / "new", force=False)
    (tmp_path / "notes.txt").touch()
    check_free(tmp_path, force=False)


def test_every_file_in_the_way_is_listed_at_once(tmp_path):
    for name in ("trust.json", "posterior.npz"):
        (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        check_free(tmp_path, force=False)
    assert str(caught.value) == (
        f"{tmp_path} already holds posterior.npz, trust.json; nothing was fitted or written: "
        "choose another --out, or add --force to write over them"
    )
    check_free(tmp_path, force=True)


@pytest.mark.parametrize("name", FILES)
def test_each_of_our_files_is_protected(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=name):
        check_free(tmp_path, force=False)


@pytest.mark.parametrize("force", [False, True])
def test_a_file_in_place_of_the_folder_is_an_error(tmp_path, force):
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="out is a file, and has to be a folder"):
        check_free(tmp_path / "out", force)


def test_the_folder_is_made_with_its_parents(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made: Not a directory"):
        make_folder(tmp_path / "file" / "out")


def test_a_whole_file_appears_under_its_name(tmp_path):
    with whole_file(tmp_path, "trust.json") as path:
        path.write_text("new")
        assert not (tmp_path / "trust.json").exists()
    assert (tmp_path / "trust.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["trust.json"]


def test_a_refusal_of_the_system_is_a_sentence(tmp_path):
    (tmp_path / "trust.json").mkdir()
    with pytest.raises(InputError, match=r"trust\.json could not be written: .*[Dd]irectory"):
        with whole_file(tmp_path, "trust.json") as path:
            path.write_text("new")
    assert os.listdir(tmp_path) == ["trust.json"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "trust.json").write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError), whole_file(tmp_path, "trust.json") as path:
        fail(path)
    assert (tmp_path / "trust.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["trust.json"]
