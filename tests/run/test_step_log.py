"""What a run reports of its steps: lines, figures, files, and no end because of a full disk."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from plans import plan_of
from pretrain_forks import pretrain
from pretraining import STEPS, arguments, losses

from gpt2zh.pages.numbers import duration
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.world import World
from gpt2zh.run import step_log
from gpt2zh.run.bad_steps import BadStep
from gpt2zh.run.step_log import StepLog, check_first_loss
from gpt2zh.train.loop import Votes
from gpt2zh.train.state import TrainState
from gpt2zh.train.step import StepResult

ENGINE = SimpleNamespace(device=torch.device("cpu"), fp16_enabled=lambda: False)


@pytest.mark.parametrize("vocabulary", [2_048, 21_248, 32_000])
@pytest.mark.parametrize("share", [0.91, 1.0, 1.09])
def test_a_first_loss_near_ln_of_the_vocabulary_is_fine(vocabulary: int, share: float) -> None:
    assert check_first_loss(share * math.log(vocabulary), vocabulary) is None


@pytest.mark.parametrize("loss", [2.0, 9.2, 11.6, math.inf, math.nan])
def test_a_first_loss_far_from_it_is_reported_with_both_numbers(loss: float) -> None:
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
def test_speed_and_eta_follow_from_tokens_also_after_a_resume(
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


def open_log(plan: RunPlan, state: TrainState) -> StepLog:
    plan.config.output.mkdir(parents=True, exist_ok=True)
    log = StepLog(ENGINE, plan, state)
    log.clock = TwoSeconds()  # type: ignore[assignment]
    return log


def result_of(loss: float, norm: float | None = 1.5) -> StepResult:
    """A step of 8 targets."""
    return StepResult(
        nats=(torch.tensor(8 * loss),),
        targets=torch.tensor(8.0),
        gradient_norm=None if norm is None else torch.tensor(norm),
        applied=True,
        refused=False,
        may_overflow=False,
    )


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.usefixtures("lone_group")
def test_a_step_is_one_line_on_the_console_and_one_in_the_figures(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plan, state = plan_of(tiny_shards, tmp_path / "run", train__steps=4), TrainState()
    log = open_log(plan, state)
    expected = math.log(plan.vocabulary)
    for norm in (1.5, None):
        state.advance(np.arange(8), tokens=100)
        log.step(state, result_of(expected, norm))
    log.close()
    out, error = capsys.readouterr()
    rate = f"lr {plan.learning_rate(1):.2e}"
    line = f"step 1/4 | loss {expected:.4f} | {rate} | grad 1.50 | 50 tok/s | eta {duration(6)}"
    assert out.splitlines()[0] == line and "grad" not in out.splitlines()[1] and error == ""
    first, second = records(tmp_path / "run")
    assert first["loss"] == pytest.approx(expected) and first["tokens_per_second"] == 50
    assert (second["step"], second["rows"], second["tokens"]) == (2, 16, 200)
    assert second["chain"] == state.chain and "gradient_norm" not in second
    assert not {"loss_scale", "mfu", "length"} & first.keys()  # fp32, on a CPU, all of one length


@pytest.mark.usefixtures("lone_group")
def test_a_strange_loss_is_warned_of_in_the_first_step_only(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    state = TrainState()
    log = open_log(plan_of(tiny_shards, tmp_path / "run", train__steps=4), state)
    for _ in range(2):
        state.advance(np.arange(8), tokens=100)
        log.step(state, result_of(1.0))
    log.close()
    assert capsys.readouterr().err.count("warning: the first loss is 1.00") == 1


@pytest.mark.usefixtures("lone_group")
def test_other_ranks_report_nothing(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plan = plan_of(tiny_shards, tmp_path / "run", World(1, 2), log__rows="true", train__steps=4)
    state = TrainState()
    log = open_log(plan, state)
    state.advance(np.arange(8), tokens=100)
    log.step(state, result_of(1.0))
    log.rows(Votes(True, np.arange(8), tokens=9, leave=False, save=False, validate=False))
    log.bad_step(BadStep(2, "loss", "loss", (3,)), state)
    log.flush()
    log.close()
    assert capsys.readouterr() == ("", "") and not list((tmp_path / "run").iterdir())


def test_the_rows_of_a_bad_step_are_named_with_the_file_that_excludes_them(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    plan = plan_of(tiny_shards, run, log__rows="true")
    log = open_log(plan, TrainState())
    log.rows(Votes(True, np.array([5, 2]), tokens=9, leave=False, save=False, validate=False))
    log.bad_step(BadStep(2, "gradient", "good", (5, 2)), TrainState())
    log.close()
    assert np.fromfile(run / "rows.u64", "<u8").tolist() == [5, 2]
    path = run / "bad-steps/step-2.json"
    assert [row["number"] for row in json.loads(path.read_text("utf-8"))["rows"]] == [5, 2]
    assert f"Its 2 rows and their text are in {path}; --skip-rows {path}" in capsys.readouterr().err
    assert records(run)[0]["kind"] == "bad_step"
    assert plan_of(tiny_shards, run, skip_rows=path).data.skipped.tolist() == [2, 5]


def test_what_cannot_be_written_is_warned_of_once_and_a_bug_is_not_hidden(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    log = open_log(plan_of(tiny_shards, tmp_path / "run"), TrainState())
    for what in ("the figures", "the figures", "bad steps"):
        with log.tolerant(what):
            raise OSError(28, "No space left on device")
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(" cannot")[0] for line in told] == [
        "warning: the figures",
        "warning: bad steps",
    ]
    assert "No space left on device; training continues" in told[0]
    with pytest.raises(ValueError, match="a bug"), log.tolerant("the figures"):
        raise ValueError("a bug")
    log.close()
