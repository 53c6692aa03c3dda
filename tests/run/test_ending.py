"""How ranks end together, or apart when one of them fails."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from forked_ranks import launch
from tiny_runs import go

from gpt2zh.acts import pretrain
from gpt2zh.acts.options import StopConfig
from gpt2zh.acts.stop import run as stop
from gpt2zh.config.exit_codes import Exit
from gpt2zh.files import pruning, run_folder
from gpt2zh.run import agreement
from gpt2zh.run.hooks import RunHooks
from gpt2zh.run.step_log import StepLog
from gpt2zh.train.loop import Votes
from tests.faults.fault import FaultyWatch
from tests.faults.tiny import arguments

pytestmark = pytest.mark.ranks


def test_ranks_wait_for_the_one_that_still_deletes_old_checkpoints(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading them to see that enough are valid takes minutes; who left meanwhile seemed dead."""
    prune = pruning.prune

    def slow(run: Path, **kept: Any) -> None:
        time.sleep(FaultyWatch.silence + 3)
        prune(run, **kept)

    monkeypatch.setattr(pruning, "prune", slow)  # the ranks are forks of this process
    run = tmp_path / "run"
    ended = go(arguments(tiny_shards, run, {"stage": 1}, steps=2), run)
    text = run.with_suffix(".log").read_text("utf-8")
    assert ended.codes == [Exit.DONE, Exit.DONE], text[-3000:]
    assert "error" not in text and "done: 2 steps" in text


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_crashes_ends_the_others_and_shows_its_traceback(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    counted = RunHooks.counted

    def crashing(self: RunHooks, votes: Votes) -> None:
        counted(self, votes)
        if self._plan.world.rank == rank and self._agreement._state.step == 2:
            raise KeyError("something of ours")

    monkeypatch.setattr(RunHooks, "counted", crashing)
    run = tmp_path / "run"
    ended = go(arguments(tiny_shards, run, {"stage": 1}, steps=9), run)
    text = run.with_suffix(".log").read_text("utf-8")
    expected = [Exit.LOST_RANK, Exit.LOST_RANK]
    expected[rank] = Exit.CRASHED
    assert ended.codes == expected, text[-3000:]
    assert ended.stuck == []
    assert text.count("Traceback") == 1 and "KeyError: 'something of ours'" in text
    assert f"error: rank {rank} crashed while " in text
    other = [
        line
        for line in text.splitlines()
        if line.startswith("error: ") and "crashed while" not in line
    ]
    assert other and all(f"rank {rank} " in line for line in other)
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()]
    assert max(steps) <= 2


@pytest.mark.parametrize("when", ["counted", "save"])
def test_a_run_whose_folder_was_taken_ends_and_writes_nothing_there(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The folder was renamed and started again under the old name, at a step or before a save."""
    run, moved = tmp_path / "run", tmp_path / "moved"
    original = getattr(RunHooks, when)

    def taken(self: RunHooks, *arguments: Any) -> None:
        if self._plan.world.is_main and not moved.exists():
            run.rename(moved)
            run.mkdir()
            (run / ".lock").write_text('{"process": 7, "host": "node9"}', "utf-8")
        original(self, *arguments)

    monkeypatch.setattr(RunHooks, when, taken)
    monkeypatch.setattr(agreement, "_CHECK_EVERY", 0.0)
    monkeypatch.setattr(StepLog, "step", lambda *_: None)
    ended = go(arguments(tiny_shards, run, {"stage": 1}, steps=4), run)
    text = run.with_suffix(".log").read_text("utf-8")
    assert ended.codes == [Exit.NOT_SAVED, Exit.NOT_SAVED], text[-3000:]
    assert f"{run} is no longer the folder of this run: process 7 on node9" in text
    assert [path.name for path in run.iterdir()] == [".lock"]
    assert (run / ".lock").read_text("utf-8") == '{"process": 7, "host": "node9"}'
    assert (moved / "metrics.jsonl").exists()


def test_gpt2zh_stop_saves_and_ends_the_run(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = RunHooks.counted
    run = tmp_path / "run"

    def asking(self: RunHooks, votes: Votes) -> None:
        counted(self, votes)
        if self._plan.world.is_main and self._agreement._state.step == 2:
            assert stop(StopConfig(run=run)) == 0

    monkeypatch.setattr(RunHooks, "counted", asking)
    ended = go(arguments(tiny_shards, run, {"stage": 1}, steps=9), run)
    text = run.with_suffix(".log").read_text("utf-8")
    assert ended.codes == [Exit.STOPPED, Exit.STOPPED], text[-3000:]
    assert "(gpt2zh stop)" in text and f"{run} stops: it saves" in text
    assert run_folder.list_checkpoints(run)


def test_output_that_nobody_can_take_costs_no_step(tmp_path: Path, tiny_shards: Path) -> None:
    """The log lies on a full disk; what is saved and recorded is as ever."""
    run = tmp_path / "run"
    argv = arguments(tiny_shards, run, {"stage": 1}, steps=3)
    assert launch(pretrain.main, argv, ranks=2, log=Path("/dev/full")) == Exit.DONE
    assert [step for step, _ in run_folder.list_checkpoints(run)][-1] == 3
    assert (run / "metrics.jsonl").stat().st_size


def test_a_rank_killed_by_a_truncated_shard_is_explained_by_the_others(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was truncated between the look at the file and the reading of its rows."""
    shards = Path(shutil.copytree(tiny_shards, tmp_path / "shards"))
    counted = RunHooks.counted

    def killed(self: RunHooks, votes: Votes) -> None:
        counted(self, votes)
        if self._plan.world.rank == 1 and self._agreement._state.step == 2:
            for path in shards.glob("train-*.arrow"):
                os.truncate(path, 100)
            faulthandler.disable()
            os.kill(os.getpid(), signal.SIGBUS)

    monkeypatch.setattr(RunHooks, "counted", killed)
    run = tmp_path / "run"
    ended = go(arguments(shards, run, {"stage": 1}, steps=9), run)
    text = run.with_suffix(".log").read_text("utf-8")
    assert ended.codes[1] == -signal.SIGBUS and ended.codes[0] != Exit.DONE
    assert re.search(r"shard \S+/train-\S+ (was changed while|is truncated)", text), text[-3000:]
