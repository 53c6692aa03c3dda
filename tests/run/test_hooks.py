"""What a validation loss does to a run: the best checkpoint is kept, and patience ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pretrain_forks import pretrain
from pretraining import STEPS, arguments, losses

from gpt2zh.files import run_folder
from gpt2zh.files.run_folder import find_faults, list_checkpoints
from gpt2zh.run.hooks import RunHooks

pytestmark = pytest.mark.ranks

QUIET = {
    "validation__every": "1steps",
    "validation__sample_tokens": 0,
    "checkpoint__every": "never",
}


def test_a_run_that_does_not_improve_ends_and_stays_ended(
    tmp_path: Path, tiny_shards: Path
) -> None:
    """The learning rate is too small to change any weight, so the loss stays what it was."""
    run = tmp_path / "run"
    more = QUIET | {
        "optimizer__lr": 1e-30,
        "validation__patience": 2,
        "checkpoint__keep_best": True,
    }
    case = arguments(tiny_shards, run, {"stage": 1}, **more)
    pretrain(2, [case], tmp_path)
    assert json.loads((run / "best.json").read_text("utf-8"))["step"] == 1
    assert [step for step, _ in losses(run)] == [1, 2, 3]
    assert [step for step, _ in list_checkpoints(run)] == [1, 3]
    text = (tmp_path / "0.log").read_text("utf-8")
    assert "has not fallen below" in text and "of step 1 for 2 validations" in text
    pretrain(2, [case], tmp_path)
    assert [step for step, _ in losses(run)] == [1, 2, 3]
    assert "validation.patience has ended this run" in (tmp_path / "0.log").read_text("utf-8")


def test_the_best_checkpoint_is_saved_and_outlives_newer_ones(
    tmp_path: Path, tiny_shards: Path
) -> None:
    """A learning rate that ruins the weights after the first steps: the best comes early."""
    run = tmp_path / "run"
    more = QUIET | {"checkpoint__keep_best": True, "checkpoint__keep_last": 2}
    more |= {"optimizer__lr": 0.5, "optimizer__warmup_steps": 6, "optimizer__max_grad_norm": 0}
    pretrain(1, [arguments(tiny_shards, run, {"stage": 1}, **more)], tmp_path)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    found = {one["step"]: one["loss"] for one in lines if one["kind"] == "validation"}
    best = min(found, key=lambda step: found[step])
    assert json.loads((run / "best.json").read_text("utf-8"))["step"] == best < max(found)
    kept = dict(list_checkpoints(run))
    assert best in kept and not find_faults(kept[best], content=True)
    assert max(found) in kept


def test_the_best_checkpoint_stays_until_a_better_one_is_saved(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses the best step of all; what was the best before it must not go."""
    begin = run_folder.begin

    def failing(run: Path, step: int) -> Path:
        if step == 3:
            raise OSError("no space left")
        return begin(run, step)

    monkeypatch.setattr(run_folder, "begin", failing)
    scripted = {1: 3.0, 2: 2.0, 3: 1.0}
    monkeypatch.setattr(RunHooks, "validate", lambda self, state: scripted.get(state.step, 9.0))
    run = tmp_path / "run"
    more = QUIET | {"checkpoint__every": "1steps", "checkpoint__keep_best": True}
    more |= {"checkpoint__keep_last": 2}
    pretrain(1, [arguments(tiny_shards, run, {"stage": 1}, **more)], tmp_path)
    assert [step for step, _ in list_checkpoints(run)] == [2, STEPS - 1, STEPS]
    assert json.loads((run / "best.json").read_text("utf-8"))["step"] == 3
    longer = arguments(tiny_shards, run, {"stage": 1}, **more | {"train__steps": STEPS + 2})
    pretrain(1, [longer], tmp_path)  # the next start still knows it
    assert [step for step, _ in list_checkpoints(run)] == [2, STEPS + 1, STEPS + 2]
