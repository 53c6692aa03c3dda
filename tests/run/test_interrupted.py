"""A signal in any phase of a run: noticed within the step, saved, and continued bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_runs import go

from gpt2zh.config.exit_codes import Exit
from tests.faults.compare import differences
from tests.faults.fault import Fault
from tests.faults.tiny import arguments

pytestmark = pytest.mark.ranks
STEPS = 24
PHASES = {
    "computing micro-batch 2": 2,  # while the learning rate warms up, amid the accumulation
    "updating the weights": 2,
    "validating batch": 1,
    "writing samples": 1,
    "copying the state": 1,
    "waiting for the disk": 1,
    "agreeing on": 2,
    "waiting for rows": 2,
}
"""Beginnings of phases, and which of their marks in a start gets the signal."""


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_signal_in_any_phase_costs_nothing(tmp_path: Path, tiny_shards: Path, stage: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    zero = {"stage": stage}
    assert go(arguments(tiny_shards, whole, zero, steps=STEPS), whole).codes == [Exit.DONE] * 2
    for number, (phase, at) in enumerate(PHASES.items()):
        name = ("SIGTERM", "SIGUSR1", "SIGINT")[number % 3]
        fault = Fault(name, rank=number % 2, in_writer=False, at=at, phase=phase)
        ended = go(arguments(tiny_shards, parts, zero, steps=STEPS), parts, fault)
        log = parts.with_suffix(".log").read_text("utf-8")
        told = parts.with_suffix(".told")
        assert told.exists(), f"no mark '{phase}'\n{log[-2000:]}"
        step = json.loads(told.read_text("utf-8").splitlines()[-1])["step"]
        assert ended.codes == [Exit.STOPPED] * 2, log[-3000:]
        assert ended.apart < 5
        newest = max(int(path.name[11:]) for path in parts.glob("checkpoint-*"))
        # The step under way is either done or never was; amid a save one more may be taken.
        saving = phase in ("copying the state", "waiting for the disk")
        assert step - 1 <= newest <= step + saving, phase
        told.unlink()
    assert go(arguments(tiny_shards, parts, zero, steps=STEPS), parts).codes == [Exit.DONE] * 2
    assert differences(whole, parts, steps=STEPS) == []


def test_a_signal_before_the_first_step_ends_the_run_at_once(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    fault = Fault("SIGTERM", rank=1, in_writer=False, at=1, phase="loading")
    ended = go(arguments(tiny_shards, run, {"stage": 1}, steps=STEPS), run, fault)
    assert ended.codes == [Exit.LOST_RANK, 143] and ended.apart < 15
    assert not list(run.glob("checkpoint-*"))
    assert "rank 1" in run.with_suffix(".log").read_text("utf-8")


def test_a_stop_within_the_first_step_names_no_checkpoint_that_does_not_exist(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    argv = arguments(tiny_shards, run, {"stage": 1}, steps=STEPS)
    assert go([*argv, "--stop-after=0.001s"], run).codes == [Exit.STOPPED] * 2
    text = run.with_suffix(".log").read_text("utf-8")
    assert "stopped before the first step was done" in text and "checkpoint-0" not in text
    assert go([*argv, "--stop-after=2steps"], run).codes == [Exit.STOPPED] * 2
    other = tmp_path / "other"
    argv = [
        *arguments(tiny_shards, other, {"stage": 1}, steps=STEPS),
        f"--resume={run}/checkpoint-2",
    ]
    assert go([*argv, "--stop-after=0.001s"], other).codes == [Exit.STOPPED] * 2
    assert f"checkpoint  {run}/checkpoint-2" in other.with_suffix(".log").read_text("utf-8")
