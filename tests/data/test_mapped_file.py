"""A file that is changed under a run is named before its rows are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.data.manifest import FileEntry
from gpt2zh.data.mapped_file import MappedFile
from gpt2zh.files.checksum import file_sha256


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "train-0.arrow"
    path.write_bytes(bytes(range(200)))
    return path


def mapped(path: Path) -> MappedFile:
    entry = FileEntry(file=path.name, bytes=path.stat().st_size, sha256=file_sha256(path))
    return MappedFile(path.parent, entry)


def at_another_time(path: Path) -> None:
    """Let a write show in the time of the file, on a disk with coarse times too."""
    os.utime(path, (1e9, 1e9))


def test_a_file_that_is_as_it_was_passes(path: Path) -> None:
    file = mapped(path)
    for _ in range(3):
        file.check(at_most_every=0)


def test_a_truncated_file_is_named_before_the_kernel_kills_its_reader(path: Path) -> None:
    file = mapped(path)
    os.truncate(path, 50)
    with pytest.raises(UserError) as caught:
        file.check(at_most_every=0)
    said = str(caught.value)
    assert f"shard {path} is truncated: it has 50 bytes, the manifest says 200" in said
    assert "changed while this run reads it" in said and "start again" in said


def test_a_file_overwritten_in_place_is_named(path: Path) -> None:
    file = mapped(path)
    with path.open("r+b") as changed:
        changed.write(b"garbage")
    at_another_time(path)
    with pytest.raises(UserError, match="was altered: its sha256 is"):
        file.check(at_most_every=0)


def test_a_file_with_another_time_only_is_read_once_and_passes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = mapped(path)
    at_another_time(path)
    file.check(at_most_every=0)
    monkeypatch.setattr("gpt2zh.data.mapped_file.check_content", None)  # must not be called again
    file.check(at_most_every=0)


def test_a_file_that_was_deleted_or_replaced_stays_mapped_as_it_was(path: Path) -> None:
    file = mapped(path)
    path.unlink()
    file.check(at_most_every=0)
    path.write_bytes(b"another file")
    new = path.with_name("new")
    new.write_bytes(b"another")
    new.replace(path)
    file.check(at_most_every=0)


def test_looks_are_spared_for_a_while(path: Path) -> None:
    file = mapped(path)
    os.truncate(path, 50)
    file.check(at_most_every=60)
    with pytest.raises(UserError):
        file.check(at_most_every=0)


def test_a_change_is_described_without_reading_the_file(path: Path) -> None:
    file = mapped(path)
    assert file.describe_change() is None
    os.truncate(path, 50)
    said = file.describe_change()
    assert said is not None and f"shard {path} was changed while" in said
    assert "it has 50 bytes, the manifest says 200" in said
    path.unlink()
    assert file.describe_change() is None
