"""What counts as equal between a segment of a run and the same trained again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from gpt2zh.verify.comparisons import (
    compare_rows,
    compare_states,
    compare_steps,
    read_figures,
)

STEPS = range(4, 7)
LOGGED = {step: {"loss": 5.0 - step / 10, "lr": 0.1} for step in STEPS}


def changed(step: int, **figures: object) -> dict[int, dict[str, Any]]:
    return LOGGED | {step: LOGGED[step] | figures}


def test_equal_steps_hold_and_those_that_the_run_logged_are_counted() -> None:
    found = compare_steps({6: LOGGED[6]}, LOGGED, STEPS, tolerance=0.0)
    assert found.holds and found.text.startswith("1 of 3 steps were logged by the run")
    assert compare_steps({}, LOGGED, STEPS, tolerance=0.0).text == "the run logged none of them"


@pytest.mark.parametrize(
    ("again", "told"),
    [
        (changed(5, loss=4.5 * (1 + 1e-15)), "step 5 is the first whose loss differs"),
        (changed(5, loss=None), "step 5 is the first whose loss differs: 4.5 in the run, None"),
        (changed(6, lr=0.2), "step 6 is the first whose learning rate differs: 0.1 in the run"),
        ({4: LOGGED[4], 5: LOGGED[5]}, "step 6 is the first whose loss differs"),
    ],
)
def test_the_least_difference_of_a_step_is_named(again: dict, told: str) -> None:
    found = compare_steps(LOGGED, again, STEPS, tolerance=0.0)
    assert not found.holds and told in found.text


def test_losses_within_a_tolerance_hold_and_both_are_told() -> None:
    near = changed(5, loss=4.5 * (1 + 5e-6))
    found = compare_steps(LOGGED, near, STEPS, tolerance=1e-5)
    assert found.holds and "agree to 5.0e-06 (the tolerance for losses is 1e-05)" in found.text
    assert not compare_steps(LOGGED, near, STEPS, tolerance=1e-6).holds
    assert compare_steps(LOGGED, near, STEPS, tolerance=1e-6).unjudged.holds


def test_two_steps_without_a_finite_loss_are_equal() -> None:
    bad = changed(5, loss=None)
    assert compare_steps(bad, bad, STEPS, tolerance=0.0).holds


def test_rows_are_compared_with_the_logged_chains_and_the_saved_one() -> None:
    expected = [(4, "a" * 64), (5, "b" * 64)]
    right = {4: {"chain": "a" * 64}}
    assert compare_rows(expected, right, "b" * 64, "checkpoint-5").holds
    assert not compare_rows(expected, right, "c" * 64, "checkpoint-5").holds
    wrong = {5: {"chain": "a" * 64}}
    found = compare_rows(expected, wrong, "b" * 64, "checkpoint-5")
    assert not found.holds and found.text.startswith("step 5 is the first whose chain")


def state(**progress: object) -> dict[str, Any]:
    known = {"step": 6, "chain": "a" * 64, "incidents": []}
    return {"updates": 6, "loss_scale": {}, "progress": known | progress}


def test_states_are_compared_but_for_what_hardware_did_once() -> None:
    assert compare_states(state(), state()).holds
    found = compare_states(state(), state(chain="b" * 64) | {"updates": 5})
    assert not found.holds
    assert (
        "updates is 6 in the run, 5 again" in found.text and "chain is aaaaaaaaaaaa" in found.text
    )
    once = {"step": 5, "fault": "loss", "again": "good"}
    assert compare_states(state(incidents=[once]), state()).holds
    assert not compare_states(state(incidents=[once | {"again": "loss"}]), state()).holds


def test_figures_are_read_up_to_a_line_that_is_being_written(tmp_path: Path) -> None:
    lines = [{"step": s, "kind": k} for s in (3, 4, 5) for k in ("train", "validation")]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 6, "kind": "tr')
    assert list(read_figures(tmp_path, STEPS)) == [4, 5]
    assert read_figures(tmp_path / "nothing", STEPS) == {}


def test_a_loss_that_is_not_finite_on_one_side_is_infinitely_far() -> None:
    found = compare_steps(LOGGED, changed(4, loss=None), STEPS, tolerance=1.0)
    assert not found.holds and f"{math.inf:.1e}" in found.text
