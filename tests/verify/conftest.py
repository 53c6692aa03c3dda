"""Tiny runs that are looked at by several modules and changed by none."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretrain_forks import pretrain
from verifying import arguments


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """Runs on two ranks: with dropout, without, of one checkpoint, started again."""
    folder = tmp_path_factory.mktemp("runs")
    parts, never = folder / "parts", {"checkpoint__every": "never"}
    first = [
        arguments(tiny_shards, folder / "run"),
        arguments(tiny_shards, folder / "plain", model__dropout=0.0, log__every=2),
        arguments(tiny_shards, folder / "single", **never, train__steps=2),
        arguments(tiny_shards, parts, **never, stop_after="5steps"),
    ]
    second = [arguments(tiny_shards, parts, **never, train__steps=7, optimizer__lr=0.02)]
    pretrain(2, first, folder)
    pretrain(2, second, folder)
    return folder
