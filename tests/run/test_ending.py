"""How ranks end together, or apart when one of them fails."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import go

from gpt2zh.config.exit_codes import Exit
from gpt2zh.files import run_folder
from gpt2zh.run.hooks import RunHooks
from gpt2zh.train.loop import Votes
from tests.faults.fault import FaultyWatch
from tests.faults.tiny import arguments

pytestmark = pytest.mark.ranks


def test_ranks_wait_for_the_one_that_still_deletes_old_checkpoints(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading them to see that enough are valid takes minutes; who left meanwhile seemed dead."""
    prune = run_folder.prune

    def slow(run: Path, **kept: Any) -> None:
        time.sleep(FaultyWatch.silence + 3)
        prune(run, **kept)

    monkeypatch.setattr(run_folder, "prune", slow)  # the ranks are forks of this process
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
    begun = time.monotonic()
    ended = go(arguments(tiny_shards, run, {"stage": 1}, steps=9), run)
    text = run.with_suffix(".log").read_text("utf-8")
    expected = [Exit.LOST_RANK, Exit.LOST_RANK]
    expected[rank] = Exit.CRASHED
    assert ended.codes == expected, text[-3000:]
    assert ended.stuck == [] and time.monotonic() - begun < 300
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
