"""Numbers that are not finite, and losses that spike, never reach the weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import go

from gpt2zh.config.exit_codes import Exit
from gpt2zh.files.run_folder import list_checkpoints
from tests.faults.compare import differences
from tests.faults.fault import Fault
from tests.faults.tiny import arguments

pytestmark = pytest.mark.ranks

PRECISIONS = [(stage, "fp32") for stage in (0, 1, 2, 3)] + [(stage, "bf16") for stage in (0, 2, 3)]
EVERY_STEP = ("--checkpoint.every=1steps", "--checkpoint.keep_last=50")


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Weights and moments."""
    found = {}
    for path in checkpoint.glob("*.safetensors"):
        found |= load_file(path)
    return found


def equal(first: Path, second: Path) -> bool:
    """Whether two checkpoints hold the same weights and moments."""
    ours, theirs = tensors(first), tensors(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def records(run: Path, kind: str) -> list[dict]:
    """Lines of metrics.jsonl of one kind."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if line["kind"] == kind]


def bad(kind: str, *, step: int, steps: int, rank: int = 1) -> Fault:
    """Bad numbers on one rank in its second micro-batch of a step, for so many steps."""
    phase = "computing micro-batch 2"
    return Fault(kind, rank=rank, in_writer=False, at=step, phase=phase, steps=steps)


@pytest.mark.parametrize(("stage", "precision"), PRECISIONS)
@pytest.mark.parametrize("kind", ["loss is NaN", "gradient is infinite"])
def test_a_bad_step_leaves_weights_and_moments_as_they_were_on_all_ranks(
    tmp_path: Path, tiny_shards: Path, stage: int, precision: str, kind: str
) -> None:
    run = tmp_path / "run"
    more = (f"--train.precision={precision}", *EVERY_STEP)
    argv = arguments(tiny_shards, run, {"stage": stage}, *more, steps=6)
    ended = go(argv, run, bad(kind, step=4, steps=1))
    assert ended.codes == [Exit.DONE] * 2, run.with_suffix(".log").read_text("utf-8")[-3000:]
    assert equal(run / "checkpoint-3", run / "checkpoint-4")
    assert not equal(run / "checkpoint-4", run / "checkpoint-5")
    assert all(torch.isfinite(t).all() for t in tensors(run / "checkpoint-6").values())
    (told,) = records(run, "bad_step")
    fault = "loss" if kind == "loss is NaN" else "gradient"
    assert (told["step"], told["fault"], told["again"]) == (4, fault, fault)
    state = json.loads((run / "checkpoint-6" / "trainer_state.json").read_text("utf-8"))
    (incident,) = state["progress"]["incidents"]
    assert incident == {name: told[name] for name in incident}
    assert state["updates"] == 5 and state["progress"]["step"] == 6


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """A run without faults, one with a NaN that goes away, one with a NaN that stays."""
    folder = tmp_path_factory.mktemp("once")
    for name, fault in (
        ("whole", None),
        ("passing", bad("loss is NaN", step=4, steps=0)),
        ("staying", bad("loss is NaN", step=4, steps=1)),
    ):
        run = folder / name
        argv = arguments(tiny_shards, run, {"stage": 1}, "--checkpoint.every=5steps", steps=8)
        assert go(argv, run, fault).codes == [Exit.DONE] * 2
    return folder


def test_a_step_that_is_good_when_taken_again_counts_as_if_nothing_had_happened(
    once: Path,
) -> None:
    assert differences(once / "whole", once / "passing", steps=8) == []
    (told,) = records(once / "passing", "bad_step")
    assert (told["fault"], told["again"]) == ("loss", "good")
    assert differences(once / "whole", once / "staying", steps=8) != []


def test_the_rows_of_a_bad_step_are_written_with_text_and_source(
    once: Path, tiny_shards: Path
) -> None:
    content = json.loads((once / "staying/bad-steps/step-4.json").read_text("utf-8"))
    (told,) = records(once / "staying", "bad_step")
    assert [row["number"] for row in content["rows"]] == told["rows"]
    # The third micro-batch of four: rows 4 and 5 of rank 1, of the eight of step 4.
    rows = np.fromfile(once / "staying/rows.u64", "<i8")
    assert told["rows"] == rows[3 * 8 + 6 : 3 * 8 + 8].tolist()
    for row in content["rows"]:
        assert row["text"].strip() and row["documents"]
        for document in row["documents"]:
            assert document["file"].endswith("part.csv") and document["line"] >= 2
    log = (once / "staying.log").read_text("utf-8")
    assert "step-4.json" in log and "--skip-rows" in log


def test_a_resume_knows_of_the_bad_step(once: Path, tiny_shards: Path) -> None:
    run = once / "staying"
    argv = arguments(tiny_shards, run, {"stage": 1}, "--checkpoint.every=5steps", steps=10)
    assert go(argv, run).codes == [Exit.DONE] * 2
    state = json.loads((run / "checkpoint-10/trainer_state.json").read_text("utf-8"))
    assert [incident["step"] for incident in state["progress"]["incidents"]] == [4]


def test_rows_that_are_skipped_change_nothing_but_their_own_step(
    tmp_path: Path, once: Path, tiny_shards: Path
) -> None:
    """Their step is taken, without a target in them."""
    run = tmp_path / "run"
    told = once / "staying/bad-steps/step-4.json"
    argv = arguments(tiny_shards, run, {"stage": 1}, f"--skip-rows={told}", steps=8)
    assert go(argv, run).codes == [Exit.DONE] * 2
    assert (run / "rows.u64").read_bytes() == (once / "whole/rows.u64").read_bytes()
    ours, theirs = (
        [line["loss"] for line in records(folder, "train")] for folder in (run, once / "whole")
    )
    rows = np.fromfile(run / "rows.u64", "<i8").reshape(-1, 8)
    skipped = {row["number"] for row in json.loads(told.read_text("utf-8"))["rows"]}
    first = next(i for i, step in enumerate(rows.tolist()) if skipped & set(step))
    assert ours[:first] == theirs[:first] and ours[first] != theirs[first]


def test_too_many_bad_steps_in_a_row_end_the_run_with_the_last_good_state(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    more = ("--guard.bad_steps=3", "--checkpoint.every=2steps", "--checkpoint.keep_last=50")
    argv = arguments(tiny_shards, run, {"stage": 2}, *more, steps=12)
    ended = go(argv, run, bad("loss is NaN", step=6, steps=5))
    assert ended.codes == [Exit.BAD_NUMBERS] * 2
    log = run.with_suffix(".log").read_text("utf-8")
    assert log.count("3 steps in a row had bad numbers") == 1 and "--skip-rows" in log
    assert [line["step"] for line in records(run, "bad_step")] == [6, 7, 8]
    assert (run / "checkpoint-5").is_dir()  # step 5 was the last good one, and none of 2, 4, 6
    state = json.loads((run / "checkpoint-5" / "trainer_state.json").read_text("utf-8"))
    assert state["progress"]["step"] == 5 and state["progress"]["bad_streak"] == 0
    whole = tmp_path / "whole"
    argv = arguments(tiny_shards, whole, {"stage": 2}, *EVERY_STEP, steps=12)
    assert go(argv, whole).codes == [Exit.DONE] * 2
    assert equal(run / "checkpoint-5", whole / "checkpoint-5")


def test_saves_among_bad_steps_do_not_replace_the_state_before_them(
    tmp_path: Path, tiny_shards: Path
) -> None:
    """The run is stopped within the streak, ends by it, and goes on as if it had not been."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    more = ("--guard.bad_steps=4", "--checkpoint.every=1steps", "--checkpoint.keep_last=2")
    argv = arguments(tiny_shards, run, {"stage": 1}, *more, steps=12)
    ended = go([*argv, "--stop-after=6steps"], run, bad("loss is NaN", step=5, steps=9))
    assert ended.codes == [Exit.STOPPED] * 2, run.with_suffix(".log").read_text("utf-8")[-3000:]
    assert list_checkpoints(run)[-1][0] == 6  # within the streak: no step is lost by a stop
    ended = go(argv, run, bad("loss is NaN", step=1, steps=9))
    assert ended.codes == [Exit.BAD_NUMBERS] * 2, run.with_suffix(".log").read_text("utf-8")[-3000:]
    assert [step for step, _ in list_checkpoints(run)] == [3, 4]
    ended = go(argv, run)
    assert ended.codes == [Exit.DONE] * 2
    assert f"continuing from {run}/checkpoint-4 at step 4" in run.with_suffix(".log").read_text()
    argv = arguments(tiny_shards, whole, {"stage": 1}, *more, steps=12)
    assert go(argv, whole).codes == [Exit.DONE] * 2
    assert differences(whole, run, steps=12) == []


def test_bad_steps_from_the_first_one_on_leave_no_checkpoint_of_themselves(
    tmp_path: Path, tiny_shards: Path
) -> None:
    run = tmp_path / "run"
    argv = arguments(tiny_shards, run, {"stage": 1}, "--guard.bad_steps=3", *EVERY_STEP, steps=6)
    ended = go(argv, run, bad("loss is NaN", step=1, steps=5))
    assert ended.codes == [Exit.BAD_NUMBERS] * 2
    assert list_checkpoints(run) == []


@pytest.mark.parametrize("limit", [0.0, 6.0])
def test_a_spike_is_left_out_if_that_is_wanted(
    tmp_path: Path, tiny_shards: Path, limit: float
) -> None:
    run = tmp_path / "run"
    more = (f"--guard.spike={limit}", "--guard.spike_window=16", *EVERY_STEP)
    argv = arguments(tiny_shards, run, {"stage": 1}, "--optimizer.lr=0.001", *more, steps=22)
    ended = go(argv, run, bad("loss is high", step=20, steps=1))
    assert ended.codes == [Exit.DONE] * 2
    assert equal(run / "checkpoint-19", run / "checkpoint-20") == bool(limit)
    assert [line["fault"] for line in records(run, "bad_step")] == ["spike"] * bool(limit)


@pytest.mark.parametrize("stage", [0, 2])
def test_fp16_tells_a_nan_from_an_overflow_and_keeps_its_scale(
    tmp_path: Path, tiny_shards: Path, stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepspeed.accelerator import get_accelerator

    # DeepSpeed refuses fp16 on CPUs without fp16 instructions, for its speed; see forked_ranks.
    monkeypatch.setattr(type(get_accelerator()), "is_fp16_supported", lambda self: True)
    run = tmp_path / "run"
    more = ("--train.precision=fp16", *EVERY_STEP)
    argv = arguments(tiny_shards, run, {"stage": stage}, *more, steps=6)
    ended = go(argv, run, bad("loss is NaN", step=4, steps=1))
    assert ended.codes == [Exit.DONE] * 2, run.with_suffix(".log").read_text("utf-8")[-3000:]
    assert equal(run / "checkpoint-3", run / "checkpoint-4")
    assert [line["loss_scale"] for line in records(run, "train")] == [256.0] * 6
    assert len(records(run, "bad_step")) == 1
