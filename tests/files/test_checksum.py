"""A file is the one that was written, or the message says how it differs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpt2zh.config.errors import UserError
from gpt2zh.files.checksum import check_content, check_size, file_sha256

DATA = b"weights" * 1_000_000  # more than is read at a time


@dataclass(frozen=True)
class Written:
    file: str = "part.bin"
    bytes: int = len(DATA)
    sha256: str = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "part.bin"
    path.write_bytes(DATA)
    return path


def test_the_file_that_was_written_passes(path: Path) -> None:
    assert file_sha256(path) == Written().sha256
    check_content(path.parent, Written(), kind="shard")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(DATA[:-1]), "is truncated: it has 6999999 bytes"),
        (lambda path: path.write_bytes(DATA + b"s"), "is altered: it has 7000001 bytes"),
    ],
    ids=["missing", "shorter", "longer"],
)
def test_another_size_is_refused(path: Path, change, message: str) -> None:
    change(path)
    for check in (check_size, check_content):
        with pytest.raises(UserError, match=f"^shard {path} {message}"):
            check(path.parent, Written(), kind="shard")


def test_one_other_byte_is_found_by_content_only(path: Path) -> None:
    path.write_bytes(b"W" + DATA[1:])
    check_size(path.parent, Written(), kind="shard")
    with pytest.raises(UserError, match=r"was altered: its sha256 is .{16}\.\.\., the manifest"):
        check_content(path.parent, Written(), kind="shard")
