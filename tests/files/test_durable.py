"""A text file appears whole, or the old one stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpt2zh.files.durable import whole_file, write_whole


def test_the_new_text_replaces_the_old_one_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for text in ("一二三" * 1000, "四"):
        write_whole(path, text)
        assert path.read_text("utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text("utf-8") == "old"


def test_the_name_is_on_the_disk_before_the_next_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could keep the second file of a run without the first."""
    seen: list[tuple[str, bool]] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        seen.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "first").exists()))

    monkeypatch.setattr(os, "fsync", recorded)
    write_whole(tmp_path / "first", "text")
    assert seen[-1] == (str(tmp_path), True) and not seen[0][1]


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "state.json", "text")


def test_a_file_that_is_not_written_to_its_end_never_appears(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_file(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == []
