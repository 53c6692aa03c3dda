"""Which outputs are refused, and what an interruption leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_tools.shards.output import check_output, new_folder
from gpt2zh.config.errors import UserError


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Return a folder that looks like shards."""
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "manifest.json").write_text("old")
    return folder


def test_a_missing_or_empty_folder_is_free(tmp_path: Path) -> None:
    check_output(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", overwrite=False)


def test_shards_are_replaced_with_overwrite_alone(shards: Path) -> None:
    check_output(shards, overwrite=True)
    with pytest.raises(UserError, match=r"already exists.*--overwrite.*--append"):
        check_output(shards, overwrite=False)


def test_other_folders_files_and_mount_points_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not a folder of shards"):
        check_output(tmp_path, overwrite=True)
    with pytest.raises(UserError, match="is a file"):
        check_output(tmp_path / "thesis.txt", overwrite=True)
    with pytest.raises(UserError, match="is a mount point"):
        check_output(Path("/"), overwrite=True)


def interrupted(target: Path) -> None:
    """Fill a new folder and be stopped before it is complete."""
    with new_folder(target) as building:
        (building / "manifest.json").write_text("new")
        raise KeyboardInterrupt


def test_interruption_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_new_folder_replaces_no_shards_and_names_no_option_for_it(shards: Path) -> None:
    with pytest.raises(UserError, match=r"name another folder or remove it$"):
        interrupted(shards)
    assert (shards / "manifest.json").read_text() == "old"


def overtaken(target: Path) -> None:
    """Fill a new folder while somebody else puts one in its place."""
    with new_folder(target):
        target.mkdir()
        (target / "thesis.txt").write_text("mine")


def test_folder_that_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="already exists"):
        overtaken(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out/thesis.txt").read_text() == "mine"
