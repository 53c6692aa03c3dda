"""What bad input gets, before any GPU is taken: data, numbers, JSON and disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plans import altered, first, plan_of, refused

from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions, LogConfig, PretrainConfig
from gpt2zh.data.shard import ShardSet
from gpt2zh.plan.make import check_run
from gpt2zh.ranks.world import World
from gpt2zh.text.tokenizer import load_tokenizer


def change_manifest(path: Path) -> None:
    table = json.loads(path.read_text("utf-8"))
    table["row_length"] = 64
    path.write_text(json.dumps(table), "utf-8")


DAMAGE: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "truncated": (lambda s: os.truncate(first(s), 700), ["is truncated", "700 bytes", "again"]),
    "altered": (lambda s: altered(first(s)), ["was altered", "sha256", "copy it again"]),
    "held-out altered": (lambda s: altered(first(s, "validation")), ["validation", "altered"]),
    "missing": (lambda s: first(s).unlink(), ["is missing", "prepare the shards again"]),
    "other tokenizer": (
        lambda s: load_tokenizer("builtin").save(s / "tokenizer"),
        ["is not the tokenizer that made these shards", "restore it or prepare"],
    ),
    "no tokenizer": (
        lambda s: shutil.rmtree(s / "tokenizer"),
        ["tokenizer", "tokenizer.json"],
    ),
    "no manifest": (lambda s: (s / "manifest.json").unlink(), ["no manifest.json", "prepare"]),
    "half a manifest": (
        lambda s: os.truncate(s / "manifest.json", 300),
        ["manifest.json", "damaged", "prepare the shards again"],
    ),
    "altered manifest": (lambda s: change_manifest(s / "manifest.json"), ["was altered"]),
    "no folder": (shutil.rmtree, ["is not a folder", "python -m data_tools prepare"]),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_shards_are_refused(
    shards: Path, run: Path, damage: Callable[[Path], Any], told: list[str]
) -> None:
    damage(shards)
    message = refused(shards, run)
    assert str(shards) in message
    assert not [part for part in told if part not in message], message


def test_an_altered_byte_is_overlooked_only_on_request_and_on_other_ranks(
    shards: Path, run: Path
) -> None:
    altered(first(shards))
    plan_of(shards, run, verify_data="false")
    plan_of(shards, run, World(1, 2))  # rank 0 reads it for all
    assert "was altered" in refused(shards, run, World(0, 2))


def test_a_corpus_smaller_than_one_global_batch(tiny_shards: Path, run: Path) -> None:
    rows = ShardSet.open(tiny_shards).rows
    plan_of(tiny_shards, run, train__global_batch=rows, train__micro_batch=1)
    message = refused(tiny_shards, run, train__global_batch=rows + 1, train__micro_batch=1)
    assert f"{rows} training rows" in message and f"train.global_batch of {rows + 1}" in message
    assert "more text or a smaller global batch" in message


def test_a_json_that_contradicts_the_config(tiny_shards: Path, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"train_batch_size": 99, "zero_optimization": {"stage": 7}}')
    message = refused(tiny_shards, run, deepspeed_config=path)
    assert "train_batch_size is 99" in message and "stage is 7" in message
    message = refused(tiny_shards, run, deepspeed_config=tmp_path / "missing.json")
    assert "missing.json" in message and "see ds_configs/" in message


def test_more_ranks_than_rows(tiny_shards: Path, run: Path) -> None:
    message = refused(tiny_shards, run, World(0, 9))
    assert "9 ranks but train.global_batch is 8 rows" in message
    assert "at most 8 ranks or raise train.global_batch" in message


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"model__layers": 0}, "model.layers is 0; it must be 1 or more"),
        ({"model__heads": 4}, "model.width 30 is not a multiple of model.heads 4"),
        ({"model__dropout": 1.0}, "model.dropout is 1.0"),
        ({"train__epochs": 0}, "train.epochs is 0.0"),
        ({"train__steps": 0}, "train.steps is 0"),
        ({"optimizer__lr": 0}, "optimizer.lr is 0.0"),
        ({"optimizer__decay_fraction": 0}, "optimizer.decay_fraction is 0.0"),
        ({"optimizer__max_grad_norm": -1}, "optimizer.max_grad_norm is -1.0"),
        ({"checkpoint__keep_last": 0}, "checkpoint.keep_last is 0"),
        ({"checkpoint__keep_last": 1}, "checkpoint.keep_last is 1; it must be 2 or more"),
        ({"guard__bad_steps": 0}, "guard.bad_steps is 0"),
        ({"guard__spike": -1}, "guard.spike is -1.0"),
        ({"guard__hang_after": "9steps"}, "guard.hang_after is 9steps; it must be a time"),
        ({"log__every": 0}, "log.every is 0"),
        ({"train__global_batch": 0}, "train.global_batch is 0"),
        ({"train__micro_batch": 0}, "train.micro_batch is 0"),
        ({"train__epochs": ".inf"}, "train.epochs is inf"),
        ({"seed": -1}, "seed is -1"),
        ({"optimizer__beta1": 1.0}, "optimizer.beta1 is 1.0"),
        ({"optimizer__beta2": 1.0}, "optimizer.beta2 is 1.0"),
        ({"optimizer__eps": -1e-8}, "optimizer.eps is -1e-08"),
        ({"optimizer__weight_decay": -0.1}, "optimizer.weight_decay is -0.1"),
        ({"optimizer__warmup_steps": -1}, "optimizer.warmup_steps is -1"),
        ({"optimizer__final_lr_fraction": -0.1}, "optimizer.final_lr_fraction is -0.1"),
        ({"validation__rows": -1}, "validation.rows is -1"),
        ({"validation__sample_tokens": -1}, "validation.sample_tokens is -1"),
        ({"checkpoint__keep_every": -1}, "checkpoint.keep_every is -1"),
        ({"validation__prompts": "山" * 40}, "validation.prompts"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_numbers_without_a_meaning_are_refused(
    tiny_shards: Path, run: Path, more: dict, told: str
) -> None:
    assert told in refused(tiny_shards, run, **more)


def test_several_faults_are_told_in_one_message(shards: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text('{"gradient_clipping": 7.0}')
    altered(first(shards))
    message = refused(
        shards,
        run,
        deepspeed_config=tmp_path / "ds.json",
        model__heads=4,
        train__sequence_length_warmup="7:1steps",
        train__global_batch=4000,
    )
    assert "5 faults" in message
    for part in (
        "model.heads 4",
        "gradient_clipping is 7.0",
        "was altered",
        "sequences of 7 tokens",
        "less than one train.global_batch",
    ):
        assert part in message


@pytest.mark.parametrize("case", ["a file", "below a file", "read-only"])
def test_an_output_that_cannot_be_written(tiny_shards: Path, tmp_path: Path, case: str) -> None:
    """The suite may run as root, whom no permission stops: but a file is no folder."""
    file = tmp_path / "file"
    file.write_text("x")
    target = {"a file": file, "below a file": file / "a" / "b", "read-only": Path("/proc/run")}
    message = refused(tiny_shards, target[case])
    assert f"--output {target[case]} cannot be written" in message
    assert "choose another folder" in message


def test_a_disk_that_is_too_small(tiny_shards: Path, run: Path) -> None:
    message = refused(tiny_shards, run, model__layers=100_000, model__width=8192)
    assert "GiB free but checkpoints need" in message and "keep fewer" in message
    assert "(4 of them: checkpoint.keep_last and one more)" in message
    more = {"model__layers": 100_000, "model__width": 8192, "checkpoint__keep_best": True}
    message = refused(tiny_shards, run, **more)
    assert "(5 of them: checkpoint.keep_last and one more, and the best one)" in message


def test_data_that_cannot_be_opened_hide_no_other_fault(run: Path) -> None:
    def fail(faults: list[str]) -> None:
        raise UserError("the words are gone")

    config = PretrainConfig(data=("shards",), output=run, log=LogConfig(every=0))
    with pytest.raises(UserError, match=r"(?s)log.every is 0.*the words are gone"):
        check_run(config, LaunchOptions(), World(), fail)
