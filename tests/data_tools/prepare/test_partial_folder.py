"""The folder in which a preparation grows, and who may use it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_tools.prepare.partial_folder import PartialFolder
from gpt2zh.config.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> PartialFolder:
    made = PartialFolder(tmp_path / "out")
    made.create()
    return made


def test_a_link_and_a_name_without_a_name_stand_for_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert PartialFolder(tmp_path / "link").path == tmp_path / "disk.partial"
    monkeypatch.chdir(tmp_path / "disk")
    assert PartialFolder(Path()).path == tmp_path / "disk.partial"
    assert PartialFolder(Path("..")).path == tmp_path.with_name(f"{tmp_path.name}.partial")


def test_files_of_both_folders_are_not_input(
    folder: PartialFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.output.parent)
    assert folder.owns(Path("out/a.csv")) and folder.owns(Path("out.partial/work/a.csv"))
    assert not folder.owns(Path("out.csv")) and not folder.owns(Path("a/out/b.csv"))
    Path("in").mkdir()
    Path("in/all").symlink_to("..")
    assert folder.owns(Path("in/all/out/a.jsonl")) and not folder.owns(Path("in/all/a.jsonl"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/out\.partial"):
        PartialFolder(tmp_path / "file/out").create()


def test_clearing_removes_drafts_records_marks_and_tokenizer(folder: PartialFolder) -> None:
    folder.tokenizer.mkdir()
    keep = folder.path / "train-00000-000.arrow"
    paths = (folder.draft(3, "json"), folder.unit(3), folder.decided, folder.replacing)
    for path in (*paths, keep, folder.appending):
        path.touch()
    folder.clear()
    assert not any(path.exists() for path in (*paths, folder.appending, folder.tokenizer))
    assert keep.exists() and folder.drafts.is_dir()


def test_what_was_packed_is_removed_and_drafts_stay(folder: PartialFolder) -> None:
    names = ("train-00000-000.arrow", "documents-00000.parquet", "near-00000.u8")
    packed = [folder.unit(0), *(folder.path / name for name in names)]
    for path in (*packed, folder.draft(0, "json")):
        path.touch()
    folder.remove_packed()
    assert not any(path.exists() for path in packed) and folder.draft(0, "json").exists()


def test_a_sweep_removes_half_written_files_alone(folder: PartialFolder) -> None:
    (folder.path / "near-00000.u8.7.tmp").touch()
    (folder.path / "tokenizer.7.tmp").mkdir()
    (folder.path / "near-00000.u8").touch()
    folder.sweep()
    assert sorted(os.listdir(folder.path)) == ["near-00000.u8", "work"]


def test_a_folder_held_by_one_is_refused_to_others(folder: PartialFolder) -> None:
    other = PartialFolder(folder.output)
    with folder.hold(is_shared=False):
        for is_shared in (False, True):
            with pytest.raises(UserError, match="another process is preparing"):
                other.hold(is_shared=is_shared).__enter__()
    with folder.hold(is_shared=True), other.hold(is_shared=True):
        pass


def test_an_empty_folder_goes_when_it_is_let_go_and_another_stays(folder: PartialFolder) -> None:
    with folder.hold(is_shared=False):
        pass
    assert folder.work.is_dir()
    with folder.hold(is_shared=False):
        folder.discard()
        assert os.listdir(folder.path) == ["lock"]
    assert not folder.path.exists()


def test_a_named_lock_is_held_by_one(folder: PartialFolder) -> None:
    other = PartialFolder(folder.output)
    with folder.only_one("plan"):
        with pytest.raises(UserError, match="another process is preparing"):
            other.only_one("plan").__enter__()
        with other.only_one("part-1-of-2"):
            pass
    with other.only_one("plan"):
        pass
