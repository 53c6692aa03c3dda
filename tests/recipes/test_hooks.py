"""What the hooks decide by themselves; the rest runs in tests/launcher and tests/train."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from pretrain_forks import pretrain
from pretraining import STEPS, arguments, losses

from gpt2zh.pages.numbers import duration
from gpt2zh.recipes import hooks
from gpt2zh.recipes.hooks import RunHooks, first_loss_warning
from gpt2zh.recipes.plan import Plan


@pytest.mark.parametrize("vocabulary", [2_048, 21_248, 32_000])
@pytest.mark.parametrize("share", [0.91, 1.0, 1.09])
def test_a_first_loss_near_ln_of_the_vocabulary_is_fine(vocabulary: int, share: float) -> None:
    assert first_loss_warning(share * math.log(vocabulary), vocabulary) is None


@pytest.mark.parametrize("loss", [2.0, 9.2, 11.6, math.inf, math.nan])
def test_a_first_loss_far_from_it_is_told_with_both_numbers(loss: float) -> None:
    told = first_loss_warning(loss, 32_000)
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
def test_speed_and_rest_are_told_by_tokens_also_in_a_ramp_and_after_a_resume(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "Clock", TwoSeconds)
    ramp = {"train__batch_ramp": "2:2steps,4:2steps", "validation__every": "never"}
    run = tmp_path / "run"
    pretrain(1, [arguments(tiny_shards, run, {"stage": 1}, stop_after="3steps", **ramp)], tmp_path)
    pretrain(1, [arguments(tiny_shards, run, {"stage": 1}, **ramp)], tmp_path)
    rows = [2, 2, 4, 4, 8, 8, 8]
    assert [speed for _, speed in losses(run, "tokens_per_second")] == [n * 32 / 2 for n in rows]
    lines = (tmp_path / "0.log").read_text("utf-8")
    rest = [sum(rows[step:]) / n * 2 for step, n in enumerate(rows, 1)]
    assert re.findall(r"eta (.+)", lines) == [duration(seconds) for seconds in rest]


@pytest.mark.ranks
@pytest.mark.parametrize("ahead", [0, 1])
def test_the_clock_of_rank_0_ends_a_run_and_names_the_reason(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    begin = RunHooks.__init__

    def begin_earlier(self: RunHooks, engine: Any, plan: Plan, *args: Any, **more: Any) -> None:
        begin(self, engine, plan, *args, **more)
        self._started -= 7200 * (plan.world.rank == ahead)

    monkeypatch.setattr(RunHooks, "__init__", begin_earlier)
    run = tmp_path / "run"
    pretrain(2, [arguments(tiny_shards, run, {"stage": 1}, stop_after="1h")], tmp_path)
    told = re.findall(r"stopping at step \d+ \(.*\)", (tmp_path / "0.log").read_text("utf-8"))
    assert told == ([] if ahead else ["stopping at step 0 (stop-after)"])
    assert len(losses(run)) == (STEPS if ahead else 0)
