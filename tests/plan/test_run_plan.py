"""The numbers of a run, and the files that describe it."""

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
from gpt2zh.data.shard import ShardSet
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer


def test_the_numbers_of_a_run(tiny_shards: Path, run: Path) -> None:
    rows = ShardSet.open(tiny_shards).rows
    held_out = ShardSet.open(tiny_shards, "validation").rows
    used = load_tokenizer(tiny_shards / "tokenizer").vocab_size
    padded = math.ceil(used / 128) * 128
    weights = 12 * 2 * 30 * 30 + padded * 30
    others = 32 * 30 + 2 * 13 * 30 + 2 * 30  # positions; biases and norms
    plan = plan_of(tiny_shards, run, World(0, 2), train__epochs=2.5)
    assert (plan.data.rows, sum(part.rows for part in plan.data.held_out)) == (rows, held_out)
    assert (plan.vocabulary, plan.setup.tokens) == (padded, used)
    assert plan.tokens_per_step == 256
    assert plan.steps == math.ceil(2.5 * rows / 8)
    assert plan.parameters == weights + others
    assert plan.flops_per_token == 6 * weights + 12 * 2 * 30 * 32


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


def test_a_sequence_length_warmup_must_divide_the_context(tiny_shards: Path, run: Path) -> None:
    message = refused(tiny_shards, run, train__sequence_length_warmup="12:3steps,16:2steps")
    assert (
        "sequences of 12 tokens, which do not divide model.context 32; use one of 16, 8" in message
    )
    message = refused(tiny_shards, run, train__sequence_length_warmup="1:3steps,16:2steps")
    assert "sequences of 1 token; " in message and "2 or more" in message
    plan = plan_of(
        tiny_shards, run, train__sequence_length_warmup="8:3steps,16:2steps", train__steps=6
    )
    assert [plan.length_at(step) for step in (1, 3, 4, 6)] == [8, 8, 16, 32]
    assert plan.flops_per_token_at(1) < plan.flops_per_token_at(6) == plan.flops_per_token


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


def test_rows_that_do_not_exist_cannot_be_skipped(tiny_shards: Path, run: Path) -> None:
    rows = ShardSet.open(tiny_shards).rows
    message = refused(tiny_shards, run, skip_rows=f"0-{rows}")
    assert f"names row {rows}, but the last is {rows - 1}" in message


def test_ranks_of_one_start_have_a_common_key_and_other_starts_another(
    tiny_shards: Path, tmp_path: Path
) -> None:
    plan = plan_of(tiny_shards, tmp_path / "run")
    assert plan.with_micro_batch(1).common_key == plan.common_key
    optimizer = dataclasses.replace(plan.config.optimizer, lr=0.5)
    other = dataclasses.replace(plan, config=dataclasses.replace(plan.config, optimizer=optimizer))
    assert other.common_key != plan.common_key
