"""The plan as text, and the warnings of what would waste the run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from plans import plan_of, setup_of

from data_tools.config import PrepareConfig
from data_tools.prepare.run import run as prepare
from gpt2zh.config.profiles import profile
from gpt2zh.cost.memory import training_memory
from gpt2zh.cost.setting import Setting
from gpt2zh.plan.describe import (
    announce,
    describe,
    describe_memory,
    describe_setup,
    warn_of_slow_cpu,
)
from gpt2zh.plan.machine import CPU_FLOPS, Machine
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.world import World

WARMUP = {"train__sequence_length_warmup": "8:3steps,16:2steps"}


def memory_gib(plan: RunPlan) -> float:
    """ZeRO 1 in fp32 on 2 ranks: 4 bytes of a parameter, 12 of every other one, and more."""
    setting = Setting(
        resolved=plan.resolved, ranks=2, recompute=False, compile="always", on_gpu=True
    )
    memory = training_memory(plan.config.model, plan.vocabulary, setting, micro_batch=2)
    assert memory.parameters == 4 * plan.parameters
    assert memory.optimizer == 12 * plan.parameters / 2
    return (memory.total - memory.context) / 2**30


def test_it_shows_the_numbers_of_the_run(tiny_shards: Path, run: Path) -> None:
    plan = plan_of(tiny_shards, run, World(0, 2), train__epochs=2.5)
    rows, held_out = plan.data.rows, sum(part.rows for part in plan.data.held_out)
    text = " ".join(describe(plan).split())
    for part in (
        f"{run}: starts from scratch",
        "2 layers x 30, context 32",
        f"vocabulary {plan.vocabulary:,} ({plan.setup.tokens:,} used)",
        f"{plan.parameters / 1e6:.2f} M parameters",
        f"{plan.flops_per_token / 1e9:.4f} GFLOPs per token",
        f"{rows} training rows ({rows * 32:,} tokens), {held_out} validation rows",
        "8 rows = 256 tokens per step (2 ranks x 2 rows x 2 accumulated)",
        f"{plan.steps:,} ({rows / 8:.1f} steps per epoch)",
        "ZeRO 1, fp32",
        f"memory about {memory_gib(plan):.2f} GiB per rank",
    ):
        assert part in text, (part, text)


def test_shorter_sequences_have_a_line_and_a_warning_if_they_last_to_the_end(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    plan = plan_of(tiny_shards, run, **WARMUP, train__steps=6)
    told = "lengths     8 tokens in steps 1 to 3, 16 tokens in steps 4 to 5, then 32"
    assert told in describe(plan)
    assert "lengths" not in describe(plan_of(tiny_shards, run))
    capsys.readouterr()
    announce(plan)
    assert "never reaches" not in capsys.readouterr().err
    announce(plan_of(tiny_shards, run, **WARMUP, train__steps=5))
    error = capsys.readouterr().err
    assert "lasts 5 steps but the run only 5: it never reaches the full context of 32" in error


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
    assert "skipped     4 rows read without loss" in capsys.readouterr().out
    announce(plan_of(tiny_shards, run))
    assert "without loss" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("precision", "rows", "warns"), [("bf16", 2, True), ("bf16", 8, False), ("fp32", 2, False)]
)
def test_gradients_that_are_summed_in_half_precision_are_warned_of(
    tiny_shards: Path,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    precision: str,
    rows: int,
    warns: bool,
) -> None:
    """Only at ZeRO 0, and only where micro-batches are added up."""
    path = tmp_path / "zero0.json"
    path.write_text(json.dumps(profile(0)))
    train = {"train__precision": precision, "train__micro_batch": rows}
    capsys.readouterr()
    announce(plan_of(tiny_shards, run, deepspeed_config=path, **train))
    error = capsys.readouterr().err
    told = "ZeRO 0 adds up the gradients of 4 micro-batches in bf16, which loses the small ones"
    assert (told in error) == warns
    assert ("--deepspeed_config ds_configs/zero1.json" in error) == warns


def test_without_data_a_setup_has_the_lines_that_do_not_need_them(
    tiny_shards: Path, run: Path
) -> None:
    plan = plan_of(tiny_shards, run)
    lines = describe(plan).splitlines()
    found = describe_setup(plan.setup).splitlines()
    assert [line.split()[0] for line in found] == ["model", "batch", "engine", "memory"]
    assert all(line in lines for line in found)


def test_memory_is_shown_part_by_part_and_that_of_the_host_apart() -> None:
    near, away = setup_of(2, profile(1)), setup_of(2, profile(2, offload=True))
    memory = near.memory()
    assert f"parameters {memory.parameters / 2**30:.2f}, " in describe_memory(near)
    assert f"CUDA takes about {memory.context / 2**30:.1f} more" in describe_memory(near)
    assert "host" not in describe_memory(near) and "optimizer" in describe_memory(near)
    host = f", and {away.memory().host / 2**30:.2f} GiB of host memory;"
    assert host in describe_memory(away) and "optimizer" not in describe_memory(away)


def test_the_engine_is_named_with_what_it_recomputes() -> None:
    plain, again = (setup_of(1, profile(3), activation_checkpointing=on) for on in (False, True))
    assert "engine      ZeRO 3, bf16, adamw\n" in describe_setup(plain)
    assert "engine      ZeRO 3, bf16, adamw, activation checkpointing\n" in describe_setup(again)


def test_a_run_that_would_take_a_cpu_days_is_warned_of(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    plan = plan_of(tiny_shards, run)
    per_step = plan.flops_per_token * plan.setup.tokens_per_step / CPU_FLOPS
    long = plan_of(tiny_shards, run, train__steps=round(2 * 3 * 24 * 3600 / per_step))
    warn_of_slow_cpu(long, Machine(0, None, 2))
    shown = capsys.readouterr().err
    assert "no GPU was found, and 2 CPU cores would need about 3 d 0 h" in shown
    assert "configs/gpt2-tiny.yaml or configs/demo.yaml, and fewer --train.steps" in shown
    for quiet, machine in (
        (plan, Machine(0, None, 2)),
        (long, Machine(1, None, 2)),
        (long, Machine(0, None, 16)),
        (dataclasses.replace(long, done=(long.steps - 5, 0)), Machine(0, None, 2)),
    ):
        warn_of_slow_cpu(quiet, machine)
        assert not capsys.readouterr().err


def test_keys_of_a_json_without_effect_are_named(tiny_shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 1}, "wandb": {"enabled": true}}')
    (line,) = [
        line
        for line in describe(
            plan_of(tiny_shards, tmp_path / "run", deepspeed_config=path)
        ).splitlines()
        if line.startswith("not used    ")
    ]
    assert "wandb (RUN/tensorboard and RUN/metrics.jsonl are always written)" in line
