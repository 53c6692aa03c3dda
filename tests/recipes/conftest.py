"""Tiny runs that are looked at by several modules and changed by none."""

from __future__ import annotations

from pathlib import Path

import pytest
from ranks import run_ranks
from verifying import arguments


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """Runs on two ranks: with dropout, without, of one checkpoint, and started a second time."""
    folder = tmp_path_factory.mktemp("runs")
    parts, never = folder / "parts", {"checkpoint__every": "never"}
    first = [
        arguments(tiny_shards, folder / "run"),
        arguments(tiny_shards, folder / "plain", model__dropout=0.0, log__every=2),
        arguments(tiny_shards, folder / "single", **never, train__steps=2),
        arguments(tiny_shards, parts, **never, stop_after="5steps"),
    ]
    second = [arguments(tiny_shards, parts, **never, train__steps=7, optimizer__lr=0.02)]
    run_ranks("pretrain_cases.py", 2, {"cases": first})
    run_ranks("pretrain_cases.py", 2, {"cases": second})
    return folder
