"""A disk that is full or must not be written: the run goes on, tries again, and loses nothing."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import wait_until
from tiny_runs import go

from gpt2zh.config.exit_codes import Exit
from gpt2zh.files import run_folder
from tests.faults.fault import Fault
from tests.faults.tiny import arguments

pytestmark = pytest.mark.ranks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fills(*, step: int) -> Fault:
    """The disk fills while a step is computed."""
    return Fault("disk fills", rank=0, in_writer=False, at=step, phase="computing micro-batch 1")


def test_a_full_disk_costs_no_step_and_no_older_checkpoint(
    small_disk: Path, tiny_shards: Path
) -> None:
    run = small_disk / "run"
    log = run.with_suffix(".log")

    def make_room() -> None:
        told = "step 9 could not be saved"
        wait_until(lambda: log.exists() and told in log.read_text("utf-8"))
        assert not run_folder.find_faults(run / "checkpoint-3", content=True)
        (run / "ballast").unlink()

    helper = threading.Thread(target=make_room)
    helper.start()
    ended = go(
        arguments(tiny_shards, run, {"stage": 1}, "--checkpoint.keep_last=2", steps=12),
        run,
        fills(step=5),
    )
    helper.join()
    text = log.read_text("utf-8")
    assert ended.codes == [Exit.DONE] * 2, text[-3000:]
    for step in (6, 9):
        assert f"warning: step {step} could not be saved: [Errno 28] No space left" in text
    assert [step for step, _ in run_folder.list_checkpoints(run)] == [3, 12]
    assert not [
        path
        for _, path in run_folder.list_checkpoints(run)
        if run_folder.find_faults(path, content=True)
    ]
    assert not list(run.glob(".checkpoint-*"))


def test_a_stop_that_cannot_be_saved_says_so_and_leaves_the_last_good_one(
    small_disk: Path, tiny_shards: Path
) -> None:
    run = small_disk / "run"
    argv = arguments(tiny_shards, run, {"stage": 1}, "--stop-after=5steps", steps=12)
    ended = go(argv, run, fills(step=5))
    text = run.with_suffix(".log").read_text("utf-8")
    assert ended.codes == [Exit.NOT_SAVED] * 2, text[-3000:]
    assert text.count("error: step 5 could not be saved: [Errno 28]") == 1
    assert [step for step, _ in run_folder.list_checkpoints(run)] == [3]
    assert not run_folder.find_faults(run / "checkpoint-3", content=True)
    (run / "ballast").unlink()
    argv = arguments(tiny_shards, run, {"stage": 1}, steps=12)
    assert go(argv, run).codes == [Exit.DONE] * 2
    assert "at step 3" in run.with_suffix(".log").read_text("utf-8")


def test_a_folder_that_must_not_be_written_is_tried_again(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    phase = "computing micro-batch 1"
    fault = Fault("no permission", rank=0, in_writer=False, at=5, phase=phase)
    argv = arguments(tiny_shards, run, {"stage": 1}, "--checkpoint.every=2steps", steps=16)
    ended = go(argv, run, fault)
    text = run.with_suffix(".log").read_text("utf-8")
    assert ended.codes == [Exit.DONE] * 2, text[-3000:]
    assert "could not be saved: [Errno 13] Permission denied" in text
    steps = [step for step, _ in run_folder.list_checkpoints(run)]
    assert steps[-1] == 16 and len(steps) == 3
    assert not [
        path
        for _, path in run_folder.list_checkpoints(run)
        if run_folder.find_faults(path, content=True)
    ]
