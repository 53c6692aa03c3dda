"""The numbers of a run, and what is announced of them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from plans import plan_of, refused

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.acts.pretrain import make_plan
from gpt2zh.config.cli import parse
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.cost.memory import training_memory
from gpt2zh.cost.setting import Setting
from gpt2zh.data.shard import ShardSet
from gpt2zh.plan.describe import announce, describe
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer


def memory_gib(plan: RunPlan) -> float:
    """ZeRO 1 in fp32 on 2 ranks: 4 bytes of a parameter, 12 of every other one, and more."""
    setting = Setting(
        resolved=plan.resolved, ranks=2, recompute=False, compile="always", on_gpu=True
    )
    memory = training_memory(plan.config.model, plan.vocabulary, setting, micro_batch=2)
    assert memory.parameters == 4 * plan.parameters
    assert memory.optimizer == 12 * plan.parameters / 2
    return (memory.total - memory.context) / 2**30


def test_the_numbers_of_a_run(tiny_shards: Path, run: Path) -> None:
    rows = ShardSet.open(tiny_shards).rows
    held_out = ShardSet.open(tiny_shards, "validation").rows
    used = load_tokenizer(tiny_shards / "tokenizer").vocab_size
    padded = math.ceil(used / 128) * 128
    weights = 12 * 2 * 30 * 30 + padded * 30
    others = 32 * 30 + 2 * 13 * 30 + 2 * 30  # positions; biases and norms
    plan = plan_of(tiny_shards, run, World(0, 2), train__epochs=2.5)
    assert plan.tokens_per_step == 256
    assert plan.steps == math.ceil(2.5 * rows / 8)
    assert plan.parameters == weights + others
    assert plan.flops_per_token == 6 * weights + 12 * 2 * 30 * 32
    text = " ".join(describe(plan).split())
    for part in (
        f"{run}: starts from scratch",
        "2 layers x 30, context 32",
        f"vocabulary {padded:,} ({used:,} used)",
        f"{plan.parameters / 1e6:.2f} M parameters",
        f"{plan.flops_per_token / 1e9:.4f} GFLOPs per token",
        f"{rows} training rows ({rows * 32:,} tokens), {held_out} validation rows",
        "8 rows = 256 tokens per step (2 ranks x 2 rows x 2 accumulated)",
        f"{plan.steps:,} ({rows / 8:.1f} steps per epoch)",
        "ZeRO 1, fp32",
        f"memory about {memory_gib(plan):.2f} GiB per rank",
    ):
        assert part in text, (part, text)


@pytest.mark.parametrize("more", [{"train__steps": 7}, {"train__steps": 7, "train__epochs": 0}])
def test_steps_win_over_epochs(tiny_shards: Path, run: Path, more: dict) -> None:
    assert plan_of(tiny_shards, run, **more).steps == 7


def test_the_written_config_reproduces_the_plan(
    tiny_shards: Path, run: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.json"
    theirs.write_text('{"zero_optimization": {"stage": 2, "overlap_comm": false}}')
    plan = plan_of(tiny_shards, run, checkpoint__every="10min", seed=9, deepspeed_config=theirs)
    texts = plan.texts()
    run.mkdir(parents=True)
    for name, text in texts.items():
        (run / name).write_text(text, "utf-8")
    theirs.unlink()  # the run has its own copy
    argv = [f"--config={run / 'config.yaml'}"]
    again = make_plan(*parse(PretrainConfig, LaunchOptions, argv=argv, prog="pretrain"), World())
    assert again.resolved == plan.resolved and again.texts() == texts
    assert json.loads(texts["deepspeed.json"]) == plan.resolved


@pytest.mark.parametrize("context", [16, 20, 64])
def test_any_context_is_read_from_the_same_shards(
    tiny_shards: Path, run: Path, context: int
) -> None:
    rows = ShardSet.open(tiny_shards, row_length=context).rows
    plan = plan_of(tiny_shards, run, model__context=context, train__global_batch=4)
    assert (plan.data.rows, plan.tokens_per_step) == (rows, 4 * context)
    assert plan.data.make_batch(plan.data.order(0, 4), 1).input_ids.shape == (4, context)
    with_32 = plan_of(tiny_shards, run, train__global_batch=4)
    assert plan.identity["data"] != with_32.identity["data"]
    assert with_32.identity["data"] == ShardSet.open(tiny_shards).manifest.fingerprint


def test_zero_nlp_rows_of_another_length_than_the_context(
    tiny_shards: Path, tiny_vocabulary: Path, run: Path, tmp_path: Path
) -> None:
    prepare(
        PrepareConfig(
            input=(str(tiny_shards.parent / "corpus"),),
            output=tmp_path / "chunks",
            tokenizer=str(tiny_vocabulary),
            row_length=16,
            packing="zero_nlp",
        )
    )
    message = refused(tmp_path / "chunks", run, model__context=32)
    assert "have 16 tokens and, packed by zero_nlp, cannot be cut to 32" in message
    assert "use model.context 16, or prepare with --row-length 32" in message
    fine = {"model__context": 16, "train__global_batch": 2, "train__micro_batch": 1}
    plan = plan_of(tmp_path / "chunks", run, **fine)
    assert plan.data.make_batch(plan.data.order(0, 1), 1).input_ids.shape == (1, 16)


def test_a_sequence_length_warmup_tells_its_steps_and_must_divide_the_context(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    message = refused(tiny_shards, run, train__sequence_length_warmup="12:3steps,16:2steps")
    assert (
        "sequences of 12 tokens, which do not divide model.context 32; use one of 16, 8" in message
    )
    message = refused(tiny_shards, run, train__sequence_length_warmup="1:3steps,16:2steps")
    assert "sequences of 1 token; " in message and "2 or more" in message
    plan = plan_of(
        tiny_shards, run, train__sequence_length_warmup="8:3steps,16:2steps", train__steps=6
    )
    told = "lengths     8 tokens in steps 1 to 3, 16 tokens in steps 4 to 5, then 32"
    assert told in describe(plan)
    assert [plan.length_at(step) for step in (1, 3, 4, 6)] == [8, 8, 16, 32]
    assert plan.flops_per_token_at(1) < plan.flops_per_token_at(6) == plan.flops_per_token
    capsys.readouterr()
    announce(plan)
    assert "never reaches" not in capsys.readouterr().err
    announce(
        plan_of(
            tiny_shards, run, train__sequence_length_warmup="8:3steps,16:2steps", train__steps=5
        )
    )
    error = capsys.readouterr().err
    assert "lasts 5 steps but the run only 5: it never reaches the full context of 32" in error


@pytest.mark.parametrize("done", [0, 1, 5, 9])
@pytest.mark.parametrize("epochs", [0.1, 0.7, 1.0, 2.5])
def test_the_steps_follow_from_the_epochs_also_after_a_resume(
    tiny_shards: Path, run: Path, epochs: float, done: int
) -> None:
    plan = plan_of(tiny_shards, run, train__epochs=epochs)
    steps = next(n for n in range(1, 26) if 8 * n >= epochs * plan.data.rows)
    again = dataclasses.replace(plan, done=(done, 8 * done))
    assert plan.steps == steps and again.steps == max(steps, done)
    assert sum(plan.epochs_at_end.values()) == pytest.approx(8 * steps / plan.data.rows)


def test_without_held_out_text_a_warning_says_so(
    tiny_vocabulary: Path, tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    prepare(
        PrepareConfig(
            input=(str(tiny_shards.parent / "corpus"),),
            output=tmp_path / "all",
            tokenizer=str(tiny_vocabulary),
            row_length=32,
            validation_fraction=0.0,
        )
    )
    plan = plan_of(tmp_path / "all", tmp_path / "run")
    assert plan.data.held_out == ()
    capsys.readouterr()
    announce(plan)
    error = capsys.readouterr().err
    assert "no validation rows" in error and "--validation-fraction" in error
    announce(dataclasses.replace(plan, world=World(1, 2)))
    assert capsys.readouterr() == ("", "")


def test_rows_that_are_skipped_are_counted_aloud(
    tiny_shards: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "step-3.json"
    file.write_text(json.dumps({"rows": [{"number": 9}, {"number": 4}]}), "utf-8")
    plan = plan_of(tiny_shards, run, skip_rows=f"4-6,{file}")
    assert plan.data.skipped.tolist() == [4, 5, 6, 9]
    announce(plan)
    assert "skipped     4 rows are read without loss" in capsys.readouterr().out
    announce(plan_of(tiny_shards, run))
    assert "without loss" not in capsys.readouterr().out


def test_rows_that_do_not_exist_cannot_be_skipped(tiny_shards: Path, run: Path) -> None:
    rows = ShardSet.open(tiny_shards).rows
    message = refused(tiny_shards, run, skip_rows=f"0-{rows}")
    assert f"names row {rows}, but the last is {rows - 1}" in message
