"""Checkpoints of two small files, and damage to them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from gpt2zh.files import run_folder


def make(run: Path, step: int) -> Path:
    """A complete checkpoint of two small files, written as a run does."""
    temporary = run_folder.begin(run, step)
    (temporary / "model.safetensors").write_bytes(bytes(range(100)))
    (temporary / run_folder.STATE).write_text(json.dumps({"step": step}), "utf-8")
    entries = run_folder.make_entries(temporary.iterdir())
    final = run_folder.checkpoint_path(run, step)
    run_folder.commit(temporary, final, entries)
    return final


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def flip_byte(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)


def cut(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def refuse_to_delete(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Let the system refuse to rename these checkpoints, as if they were of another user."""
    rename = Path.rename

    def refusing(self: Path, target: Path) -> Path:
        if self.name in {f"checkpoint-{step}" for step in steps}:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)
