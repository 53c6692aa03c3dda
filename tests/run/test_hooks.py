"""What the hooks decide by themselves; the rest runs in tests/launcher and tests/train."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pytest
from pretrain_forks import pretrain
from pretraining import STEPS, arguments, losses

from gpt2zh.pages.numbers import duration
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.run import step_log
from gpt2zh.run.agreement import Agreement
from gpt2zh.run.step_log import check_first_loss


@pytest.mark.parametrize("vocabulary", [2_048, 21_248, 32_000])
@pytest.mark.parametrize("share", [0.91, 1.0, 1.09])
def test_a_first_loss_near_ln_of_the_vocabulary_is_fine(vocabulary: int, share: float) -> None:
    assert check_first_loss(share * math.log(vocabulary), vocabulary) is None


@pytest.mark.parametrize("loss", [2.0, 9.2, 11.6, math.inf, math.nan])
def test_a_first_loss_far_from_it_is_told_with_both_numbers(loss: float) -> None:
    told = check_first_loss(loss, 32_000)
    assert told is not None
    assert f"first loss is {loss:.2f}" in told and "ln(32000) = 10.37" in told
    assert "check the data and its tokenizer" in told


class TwoSeconds:
    """A clock by which two seconds pass from line to line."""

    def read(self) -> float:
        return 2.0

    def exclude(self, seconds: float) -> None:
        pass


@pytest.mark.ranks
def test_speed_and_rest_are_told_by_tokens_also_after_a_resume(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_log, "Clock", TwoSeconds)
    more = {"validation__every": "never"}
    run = tmp_path / "run"
    pretrain(1, [arguments(tiny_shards, run, {"stage": 1}, stop_after="3steps", **more)], tmp_path)
    pretrain(1, [arguments(tiny_shards, run, {"stage": 1}, **more)], tmp_path)
    tokens = [0.0, *(count for _, count in losses(run, "tokens"))]
    assert [speed for _, speed in losses(run, "tokens_per_second")] == [
        (after - before) / 2 for before, after in itertools.pairwise(tokens)
    ]
    assert 0.8 * STEPS * 8 * 32 < tokens[-1] < STEPS * 8 * 32  # without padding
    lines = (tmp_path / "0.log").read_text("utf-8")
    rest = [duration(2 * left) for left in reversed(range(STEPS))]
    assert re.findall(r"eta (.+)", lines) == rest


@pytest.mark.ranks
@pytest.mark.parametrize("ahead", [0, 1])
def test_the_clock_of_rank_0_ends_a_run_and_names_the_reason(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    begin = Agreement.__init__

    def begin_earlier(self: Agreement, plan: RunPlan, *args: Any, **more: Any) -> None:
        begin(self, plan, *args, **more)
        self._started -= 7200 * (plan.world.rank == ahead)

    monkeypatch.setattr(Agreement, "__init__", begin_earlier)
    run = tmp_path / "run"
    pretrain(2, [arguments(tiny_shards, run, {"stage": 1}, stop_after="1h")], tmp_path)
    told = re.findall(r"stopping at step \d+ \(.*\)", (tmp_path / "0.log").read_text("utf-8"))
    assert told == ([] if ahead else ["stopping at step 0 (stop-after)"])
    assert len(losses(run)) == (STEPS if ahead else 0)
