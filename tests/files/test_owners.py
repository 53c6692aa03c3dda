"""Files that cannot be written: whose they are, and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gpt2zh.files.owners import explain_unwritable


def test_a_forbidden_file_names_its_owner_and_the_cure(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.touch()
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    said = explain_unwritable(PermissionError(errno.EACCES, "Permission denied", str(path)), path)
    uid = path.stat().st_uid
    assert said.startswith(f"{path}: Permission denied. {path} belongs to ")
    assert f"uid {uid}" in said and f"uid {os.geteuid()}" in said and "chown -R" in said


def test_a_file_that_does_not_exist_names_the_owner_of_the_nearest_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    said = explain_unwritable(PermissionError(errno.EACCES, "Permission denied"), path)
    assert f"{path}: Permission denied. {tmp_path} belongs to " in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOTDIR])
def test_another_fault_of_the_disk_asks_for_another_folder(tmp_path: Path, number: int) -> None:
    said = explain_unwritable(OSError(number, os.strerror(number)), tmp_path)
    assert said == f"{tmp_path}: {os.strerror(number)}; choose another folder"


def test_an_owner_without_a_name_is_shown_by_number(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(tmp_path, 54321, -1)
    said = explain_unwritable(PermissionError(errno.EPERM, "Operation not permitted"), tmp_path)
    assert "belongs to uid 54321" in said
