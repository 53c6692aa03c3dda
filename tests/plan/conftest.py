"""Shards that a test may damage, and an output folder that is not there yet."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def shards(tiny_shards: Path, tmp_path: Path) -> Path:
    """A copy of the shards, which a test may damage."""
    return Path(shutil.copytree(tiny_shards, tmp_path / "shards"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "small"
