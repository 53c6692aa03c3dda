"""The trainer state of a checkpoint that this version can use, or refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plans import plan_of, refused, save_checkpoint

from gpt2zh.config.errors import UserError
from gpt2zh.files import run_folder
from gpt2zh.plan.saved_state import read_saved_state
from gpt2zh.train.state import TrainState


def state_of(progress: TrainState) -> dict[str, Any]:
    return {"format": 2, "progress": progress.record, "updates": 3, "loss_scale": {}}


def written(folder: Path, content: object) -> Path:
    (folder / run_folder.STATE).write_text(json.dumps(content), "utf-8")
    return folder


@pytest.mark.parametrize("format_of_older", [{}, {"format": 1}, {"format": 2}])
def test_what_this_and_older_versions_write_is_returned(
    tmp_path: Path, format_of_older: dict
) -> None:
    state = state_of(TrainState(step=4, rows=32, recent=[0.5]))
    del state["format"]
    assert read_saved_state(written(tmp_path, state | format_of_older)) == state | format_of_older


def test_a_state_within_a_streak_of_bad_steps_is_returned(tmp_path: Path) -> None:
    progress = TrainState(step=4)
    progress.begin_streak()
    assert read_saved_state(written(tmp_path, state_of(progress)))["progress"]["before_streak"]


def without(name: str) -> Callable[[dict], object]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def in_progress(**more: object) -> Callable[[dict], object]:
    return lambda state: state | {"progress": state["progress"] | more}


CASES = {
    "newer format": (lambda s: s | {"format": 3}, "its format is 3; this version reads formats up"),
    "a list": (lambda s: [], "holds a list; it must be an object"),
    "no updates": (without("updates"), "it lacks updates"),
    "no progress": (without("progress"), "it lacks progress"),
    "no step": (lambda s: s | {"progress": {"rows": 1}}, "it lacks progress.step"),
    "step a text": (in_progress(step="4"), "progress.step is '4'; it must be of type int"),
    "step below 0": (in_progress(step=-1), "progress.step is -1; it must be 0 or more"),
    "chain a number": (in_progress(chain=3), "progress.chain is 3; it must be of type str"),
    "newer key": (in_progress(momentum=1), "progress has 'momentum', which this version does not"),
    "newer key before": (
        in_progress(before_streak={"momentum": 1}),
        "progress has 'momentum', which this version does not",
    ),
}


@pytest.mark.parametrize(("change", "told"), CASES.values(), ids=CASES)
def test_a_state_that_cannot_be_used_is_refused_with_value_rule_and_cure(
    tmp_path: Path, change: Callable[[dict], object], told: str
) -> None:
    written(tmp_path, change(state_of(TrainState(step=4, rows=32))))
    with pytest.raises(UserError) as caught:
        read_saved_state(tmp_path)
    message = str(caught.value)
    assert told in message and "--resume" in message and run_folder.STATE in message


def test_a_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / run_folder.STATE).write_text("{", "utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        read_saved_state(tmp_path)


def test_a_start_from_a_checkpoint_of_a_newer_version_is_refused(
    tiny_shards: Path, run: Path
) -> None:
    """Its manifest is right: nothing is damaged."""
    checkpoint = save_checkpoint(plan_of(tiny_shards, run), 3)
    state = run_folder.read_state(checkpoint)
    state["progress"]["momentum"] = 1
    written(checkpoint, state)
    (checkpoint / run_folder.MANIFEST).unlink()
    entries = run_folder.make_entries(checkpoint.iterdir())
    run_folder.commit(checkpoint, run / "checkpoint-4", entries)
    assert "progress has 'momentum'" in refused(tiny_shards, run)
