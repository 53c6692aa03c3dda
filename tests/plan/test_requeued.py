"""A command with `--resume` that is given again continues; a changed one goes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from plans import plan_of, refused, save_checkpoint

from gpt2zh.plan.requeued import RESUMED, find_continuation, note_resume


@pytest.fixture
def resumed(tiny_shards: Path, run: Path) -> Path:
    """A checkpoint to which a command went back; the run has saved another one since."""
    first = plan_of(tiny_shards, run)
    older = save_checkpoint(first, 3)
    plan = plan_of(tiny_shards, run, resume=older)
    assert plan.resume_from == older
    note_resume(plan)
    save_checkpoint(first, 7)
    return older


def test_the_same_command_continues_and_says_how_to_go_back(
    tiny_shards: Path, run: Path, resumed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan_of(tiny_shards, run, resume=resumed).resume_from == run / "checkpoint-7"
    error = capsys.readouterr().err
    assert f"gone back to {resumed} before" in error and f"delete {run / RESUMED}" in error
    (run / RESUMED).unlink()
    assert plan_of(tiny_shards, run, resume=resumed).resume_from == resumed


def test_it_continues_when_the_old_checkpoint_has_been_deleted_since(
    tiny_shards: Path, run: Path, resumed: Path
) -> None:
    shutil.rmtree(resumed)
    assert plan_of(tiny_shards, run, resume=resumed).resume_from == run / "checkpoint-7"
    assert "is not a complete checkpoint" in refused(
        tiny_shards, run, resume=resumed, optimizer__lr=1e-5
    )


def test_a_changed_command_goes_back(tiny_shards: Path, run: Path, resumed: Path) -> None:
    plan = plan_of(tiny_shards, run, resume=resumed, optimizer__lr=1e-5)
    assert plan.resume_from == resumed
    again = plan_of(tiny_shards, run, resume=run / "checkpoint-7")
    assert again.resume_from == run / "checkpoint-7" and find_continuation(again) is None


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_note_that_cannot_be_read_is_none(
    tiny_shards: Path, run: Path, resumed: Path, content: str
) -> None:
    (run / RESUMED).write_text(content, "utf-8")
    assert plan_of(tiny_shards, run, resume=resumed).resume_from == resumed


def test_a_start_without_resume_notes_nothing(tiny_shards: Path, run: Path) -> None:
    plan = plan_of(tiny_shards, run)
    save_checkpoint(plan, 3)
    note_resume(plan)
    assert not (run / RESUMED).exists()
