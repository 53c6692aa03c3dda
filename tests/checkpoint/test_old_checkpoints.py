"""Old checkpoints that cannot be deleted: the training goes on, and a warning says so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_checkpoints import make, names, refuse_to_delete

from gpt2zh.checkpoint.old_checkpoints import OldCheckpoints
from gpt2zh.config.schema import CheckpointConfig
from gpt2zh.ranks.world import World


def prune_after(run: Path, *steps: int, pins: tuple[int, ...] = ()) -> None:
    """Save and prune step by step, as a run does."""
    with ThreadPoolExecutor(1) as thread:
        old = OldCheckpoints(thread, CheckpointConfig(keep_last=2), run, World())
        for step in pins:
            old.pin(step)
        for step in steps:
            make(run, step)
            old.prune()
            thread.submit(lambda: None).result()
        old.warn_of_failure()


def test_a_warning_names_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    refuse_to_delete(monkeypatch, 1)
    prune_after(tmp_path, *range(1, 7))
    assert names(tmp_path) == [f"checkpoint-{step}" for step in (1, 5, 6)]
    text = "".join(capfd.readouterr())
    assert text.count("cannot be deleted: [Errno 1] checkpoint-1: Operation not permitted") == 1
    assert "delete them yourself" in text


def test_one_that_fails_at_the_very_end_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    refuse_to_delete(monkeypatch, 1)
    prune_after(tmp_path, 1, 2, 3)
    assert "checkpoint-1: Operation not permitted" in "".join(capfd.readouterr())


def test_the_newest_complete_pin_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prune_after(tmp_path, *range(1, 7), pins=(1, 2, 9))
    assert names(tmp_path) == [f"checkpoint-{step}" for step in (2, 5, 6)]
    assert "warning" not in "".join(capfd.readouterr())
