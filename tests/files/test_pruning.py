"""Which old checkpoints go, and what happens to those that cannot be deleted."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from small_checkpoints import cut, flip_byte, make, names, refuse_to_delete

from gpt2zh.files import pruning, run_folder


@pytest.mark.parametrize(
    ("keep_last", "keep_every", "left"),
    [
        (2, 0, [50, 60]),
        (3, 0, [40, 50, 60]),
        (2, 20, [20, 40, 50, 60]),
        (2, 30, [30, 50, 60]),
        (9, 0, [10, 20, 30, 40, 50, 60]),
    ],
)
def test_prune_keeps_the_newest_and_the_multiples(
    tmp_path: Path, keep_last: int, keep_every: int, left: list[int]
) -> None:
    for step in range(10, 70, 10):
        make(tmp_path, step)
    pruning.prune(tmp_path, keep_last=keep_last, keep_every=keep_every)
    assert names(tmp_path) == [f"checkpoint-{step}" for step in left]


def test_an_incomplete_one_never_counts_as_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        make(tmp_path, step)
    cut(tmp_path / "checkpoint-5")
    (tmp_path / "checkpoint-4" / "manifest.json").unlink()
    pruning.prune(tmp_path, keep_last=2, keep_every=0)
    assert run_folder.newest_complete(tmp_path)[0] == tmp_path / "checkpoint-3"
    assert (tmp_path / "checkpoint-2").exists()
    assert not (tmp_path / "checkpoint-1").exists()


@pytest.mark.parametrize(
    ("ruined", "left"),
    [
        ([], [5, 6]),
        ([6], [4, 5, 6]),
        ([5], [4, 5, 6]),
        ([5, 6], [3, 4, 5, 6]),
        ([4, 6], [3, 5, 6]),
        ([3, 4, 5, 6], [1, 2, 5, 6]),
        ([1, 2, 3, 4, 5, 6], [5, 6]),
    ],
)
def test_prune_leaves_two_whose_every_byte_is_right(
    tmp_path: Path, ruined: list[int], left: list[int]
) -> None:
    """A disk may ruin what had been written well; sizes do not tell."""
    for step in range(1, 7):
        make(tmp_path, step)
    for step in ruined:
        flip_byte(tmp_path / f"checkpoint-{step}")
    pruning.prune(tmp_path, keep_last=2, keep_every=0)
    assert names(tmp_path) == [f"checkpoint-{step}" for step in left]


def test_multiples_that_are_kept_for_good_count_among_the_two(tmp_path: Path) -> None:
    for step in range(1, 7):
        make(tmp_path, step)
    for step in (5, 6):
        flip_byte(tmp_path / f"checkpoint-{step}")
    pruning.prune(tmp_path, keep_last=2, keep_every=2)
    assert names(tmp_path) == [f"checkpoint-{step}" for step in (2, 4, 5, 6)]


def test_as_few_as_there_are_stay(tmp_path: Path) -> None:
    pruning.prune(tmp_path, keep_last=2, keep_every=0)
    make(tmp_path, 1)
    pruning.prune(tmp_path, keep_last=2, keep_every=0)
    assert names(tmp_path) == ["checkpoint-1"]


def test_what_is_being_written_survives_pruning(tmp_path: Path) -> None:
    """Old checkpoints are deleted beside the training, when the next may have begun."""
    for step in (1, 2, 3):
        make(tmp_path, step)
    (run_folder.begin(tmp_path, 4) / "half").write_text("x")
    pruning.prune(tmp_path, keep_last=2, keep_every=0)
    assert names(tmp_path) == [".checkpoint-4.writing", "checkpoint-2", "checkpoint-3"]


def test_old_ones_that_cannot_be_deleted_are_named_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(1, 6):
        make(tmp_path, step)
    refuse_to_delete(monkeypatch, 1, 3)
    with pytest.raises(OSError, match="checkpoint-1, checkpoint-3: Operation not permitted"):
        pruning.prune(tmp_path, keep_last=2, keep_every=0)
    assert names(tmp_path) == [f"checkpoint-{step}" for step in (1, 3, 4, 5)]


def test_what_was_half_deleted_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(1, 4):
        make(tmp_path, step)

    def failing(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", failing)
        with pytest.raises(OSError, match="checkpoint-1: Permission denied"):
            pruning.prune(tmp_path, keep_last=2, keep_every=0)
        with pytest.raises(OSError, match=r"\.checkpoint-1\.deleting: Permission denied"):
            pruning.sweep(tmp_path)
    assert names(tmp_path) == [".checkpoint-1.deleting", "checkpoint-2", "checkpoint-3"]
    pruning.prune(tmp_path, keep_last=2, keep_every=0)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-3"]


def test_what_a_killed_run_left_of_other_steps_does_not_stay_for_ever(tmp_path: Path) -> None:
    """Each is as large as a checkpoint; a run that saves by the clock never reuses the name."""
    (run_folder.begin(tmp_path, 6) / "half").write_text("x")
    (tmp_path / ".checkpoint-3.deleting").mkdir()
    make(tmp_path, 7)
    run_folder.set_aside_newer(tmp_path, 6)
    make(tmp_path, 5)
    pruning.sweep(tmp_path)
    assert names(tmp_path) == ["checkpoint-5", "superseded-checkpoint-7"]
    pruning.sweep(tmp_path / "missing")


def test_newer_ones_are_deleted_where_the_run_returns_to_an_older_one(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        make(tmp_path, step)
    pruning.delete_newer(tmp_path, 1)
    assert names(tmp_path) == ["checkpoint-1"]
    pruning.delete_newer(tmp_path, 0)
    assert names(tmp_path) == []
