"""Checkpoints that are deleted or moved: whole or not at all, on any disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gpt2zh.files.removal import delete_folder, move_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of two files."""
    made = tmp_path / "checkpoint-7"
    made.mkdir()
    (made / "manifest.json").write_text("{}")
    (made / "model.safetensors").write_bytes(bytes(100))
    return made


@pytest.fixture
def lower_layer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, in a lower layer of overlayfs: the kernel refuses to rename such a folder."""
    rename = Path.rename

    def refusing(self: Path, target: Path) -> Path:
        if self == folder:
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)
    return folder


def test_a_deleted_folder_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    delete_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_half_deleted_is_deleted_under_the_same_name(tmp_path: Path) -> None:
    left = tmp_path / ".checkpoint-7.deleting"
    left.mkdir()
    delete_folder(left)
    assert list(tmp_path.iterdir()) == []


def test_of_a_link_only_the_link_is_deleted(tmp_path: Path, folder: Path) -> None:
    link = tmp_path / "checkpoint-8"
    link.symlink_to(folder)
    delete_folder(link)
    assert list(tmp_path.iterdir()) == [folder] and (folder / "manifest.json").exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        delete_folder(tmp_path / "checkpoint-1")


def test_a_folder_of_a_lower_layer_is_deleted_where_it_is(
    tmp_path: Path, lower_layer: Path
) -> None:
    delete_folder(lower_layer)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_lower_layer_is_moved_by_copying(tmp_path: Path, lower_layer: Path) -> None:
    target = tmp_path / "superseded-checkpoint-7"
    (tmp_path / ".superseded-checkpoint-7.copying").mkdir()  # of a start that was killed
    move_folder(lower_layer, target)
    assert list(tmp_path.iterdir()) == [target]
    assert sorted(path.name for path in target.iterdir()) == ["manifest.json", "model.safetensors"]


def test_any_other_error_of_a_move_is_passed_on(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        move_folder(folder, tmp_path / "missing" / "there")
    assert folder.exists()
