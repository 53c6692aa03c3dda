"""A dry run for more ranks than there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from plans import ROOT, arguments, plan_of, refused, snapshot

from gpt2zh.config.errors import UserError
from gpt2zh.config.schema import LaunchOptions
from gpt2zh.cost.cards import card_named
from gpt2zh.cost.scaling import LINKS, Cluster, predict
from gpt2zh.plan.describe import describe, memory_of
from gpt2zh.ranks.device import Device
from gpt2zh.ranks.world import World
from gpt2zh.recipes.rehearsal import Rehearsal, _jobs, refuse_stray_options, rehearse

# Rows of 2 tokens, so that the tiny shards have enough for 128 ranks.
BATCH = {
    "model__context": 2,
    "train__global_batch": 128,
    "train__micro_batch": 1,
    "validation__sample_tokens": 0,
}


def options(**named: object) -> LaunchOptions:
    return LaunchOptions(**{"dry_run": True, "ranks": 128, **named})


def rehearsal(**named: object) -> Rehearsal:
    return rehearse(options(**{"gpu": "RTX 3090", **named}))


def refusal(world: World = World(), **named: object) -> str:  # noqa: B008
    with pytest.raises(UserError) as caught:
        refuse_stray_options(LaunchOptions(**named), world)
    return str(caught.value)


def launch(argv: list[str]) -> subprocess.CompletedProcess:
    """A real process of launcher/pretrain.py, started without a launcher."""
    return subprocess.run(
        [sys.executable, str(ROOT / "launcher" / "pretrain.py"), *argv],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")},
    )


@pytest.mark.ranks
def test_128_ranks_are_checked_by_one_process_as_rank_0_of_them_would(
    tiny_shards: Path, run: Path
) -> None:
    before = snapshot(tiny_shards)
    more = {"dry_run": "true", "ranks": 128, "gpu": "A100", "ranks_per_machine": 4}
    done = launch(arguments(tiny_shards, run, **BATCH, **more))
    assert done.returncode == 0, done.stderr
    plan = plan_of(tiny_shards, run, World(0, 128, 0, 4), **BATCH)
    assert describe(plan) in done.stdout and "(128 ranks x 1 rows x 1 accumulated)" in done.stdout
    told = rehearsal(gpu="A100", ranks_per_machine=4)
    assert told.world == plan.world
    assert told.describe(plan) in done.stdout
    assert not run.exists() and snapshot(tiny_shards) == before


def test_every_stage_has_what_a_rank_sends_and_its_speed_at_every_link(
    tiny_shards: Path, run: Path
) -> None:
    told = rehearsal()
    plan = plan_of(tiny_shards, run, told.world, **BATCH)
    lines = told.describe(plan).splitlines()
    assert "128 x RTX 3090 (--gpu) on 16 machines of 8" in lines[0] and "not measured" in lines[0]
    assert lines[2].split()[3::2] == [f"{link}" for link in LINKS]
    for (stage, job), line in zip(_jobs(plan).items(), lines[3:7], strict=True):
        steps = [predict(job, Cluster(told.card, 128, 8, link)) for link in LINKS]
        sent = f"{job.traffic.sent(128) / 1e9:,.3f} GB"
        shares = [f"{step.efficiency:.1%}" for step in steps]
        mark = ["*"] if stage == plan.zero_stage else []
        memory = f"{memory_of(plan, job.setting.resolved).total / 2**30:,.1f} GiB"
        assert line.split() == [*mark, str(stage), *memory.split(), *sent.split(), *shares]
    own = [line for line in lines if "tokens/s" in line]
    assert [line.split(":")[0].strip(" *") for line in own] == [f"{link} Gb/s" for link in LINKS]


def test_the_link_between_machines_is_not_asked_for_in_one_machine(
    tiny_shards: Path, run: Path
) -> None:
    told = rehearsal(ranks=8)
    text = told.describe(plan_of(tiny_shards, run, told.world, **BATCH))
    assert "8 x RTX 3090 (--gpu) in one machine" in text and "Gb/s" not in text


def test_a_faster_stage_and_more_work_are_hinted_at(tiny_shards: Path, run: Path) -> None:
    told = rehearsal(ranks=32)
    small = {**BATCH, "deepspeed_config": ROOT / "ds_configs" / "zero2.json"}
    text = told.describe(plan_of(tiny_shards, run, told.world, **small))
    assert "hint        ZeRO 0 is faster (10 Gb/s, " in text  # 4 micro-batches, in fp32
    assert "ds_configs/zero0.json" in text and "a larger train.global_batch" in text


def test_a_stage_that_does_not_fit_is_told_and_not_hinted_at(tiny_shards: Path, run: Path) -> None:
    """Nor does the disk of this machine matter, which has no room for a thousand checkpoints."""
    told = rehearsal(ranks=32)
    large = {"model__layers": 76, "model__width": 1280, "model__heads": 20}
    large |= {"checkpoint__keep_last": 1000, "dry_run": "true", "ranks": 32}
    text = told.describe(plan_of(tiny_shards, run, told.world, **BATCH, **large))
    table = text.splitlines()[3:7]
    assert [" GiB (no)" in line for line in table] == [True, False, False, False]
    assert "ZeRO 0" not in text  # though it would be the fastest
    zero0 = {"deepspeed_config": ROOT / "ds_configs" / "zero0.json"}
    text = told.describe(plan_of(tiny_shards, run, told.world, **BATCH, **large, **zero0))
    assert "hint        ZeRO 0 needs more than the card has; ZeRO 1 fits, and " in text


def test_a_disk_that_is_too_small_for_so_many_ranks_is_told_and_no_reason_to_refuse(
    tiny_shards: Path, run: Path, capsys: pytest.CaptureFixture
) -> None:
    large = {"model__layers": 100_000, "model__width": 8192}
    assert "GiB free but checkpoints need" in refused(tiny_shards, run, **large)
    capsys.readouterr()
    plan_of(tiny_shards, run, rehearsal(ranks=4).world, **large, dry_run="true", ranks=4)
    assert f"warning: --output {run} has " in capsys.readouterr().err


def test_stages_that_the_config_cannot_have_are_left_out(tiny_shards: Path, run: Path) -> None:
    told = rehearsal(ranks=8)
    for more in ({"train__compile": "always"}, {"optimizer__kind": "muon"}):
        plan = plan_of(tiny_shards, run, told.world, **BATCH, **more)
        assert list(_jobs(plan)) == [0, 1, 2]
        assert "\n            3 " not in told.describe(plan)


def test_offload_is_told_to_be_left_out(tiny_shards: Path, run: Path) -> None:
    told = rehearsal(ranks=32)
    for name, there in (("zero2_offload", True), ("zero2", False)):
        path = ROOT / "ds_configs" / f"{name}.json"
        plan = plan_of(tiny_shards, run, told.world, **BATCH, deepspeed_config=path)
        assert ("without offload to the host" in told.describe(plan)) == there


def test_stage_0_is_not_hinted_at_where_it_would_lose_precision(
    tiny_shards: Path, run: Path
) -> None:
    told = rehearsal(ranks=32)
    half = {
        **BATCH,
        "deepspeed_config": ROOT / "ds_configs" / "zero2.json",
        "train__precision": "bf16",
    }
    text = told.describe(plan_of(tiny_shards, run, told.world, **half))
    assert "hint        ZeRO 1 is faster" in text and "ZeRO 0" not in text


def test_what_128_ranks_would_refuse_is_refused(tiny_shards: Path, run: Path) -> None:
    wrong = {**BATCH, "train__micro_batch": 2}
    for ranks in (128, 96):
        told = rehearsal(ranks=ranks)
        alone = refused(tiny_shards, run, told.world, **wrong)
        assert alone == refused(tiny_shards, run, World(0, ranks, 0, ranks), **wrong)
        assert "train.global_batch 128 is no multiple" in alone and f"x {ranks}; " in alone


def test_ranks_are_for_dry_runs_of_one_process_only() -> None:
    refuse_stray_options(options(), World())
    refuse_stray_options(LaunchOptions(), World(1, 2))
    assert "--ranks 128 only belongs to --dry-run" in refusal(ranks=128)
    assert "2 were started; start it without a launcher" in refusal(
        World(0, 2), dry_run=True, ranks=128
    )
    text = refusal(dry_run=True, ranks=0, ranks_per_machine=-1)
    assert "2 faults" in text and "--ranks is 0" in text and "--ranks-per-machine is -1" in text
    text = refusal(dry_run=True, gpu="H100", ranks_per_machine=4)
    assert "--gpu H100 only tells --ranks" in text and "--ranks-per-machine 4 only" in text


def test_a_card_must_be_known_and_able() -> None:
    with pytest.raises(UserError, match="--gpu RTX 3080 is not known; known are RTX 3090 Ti, "):
        rehearsal(gpu="RTX 3080")
    with pytest.raises(UserError, match="a V100 has no bf16; use fp16"):
        rehearsal(gpu="V100").check_precision("bf16")
    rehearsal(gpu="V100").check_precision("fp16")
    rehearsal(gpu="A100").check_precision("bf16")
    assert rehearsal(gpu="nvidia h100 80GB hbm3").card.name == "H100"


def test_without_a_card_to_be_found_it_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    told = rehearsal(gpu=None)
    assert told.card.name == "RTX 3090" and told.device().memory == 24 * 2**30
    assert told.device().is_gpu


@pytest.mark.parametrize("gpu", [None, "A100"])
def test_the_card_of_this_machine_counts_with_the_memory_that_it_has_now(
    gpu: str | None, tiny_shards: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An A100 may have 80 GiB instead of the 40 of the table, or be used by somebody else."""
    here = Device("NVIDIA A100-SXM4-80GB", 70 * 2**30, is_gpu=True)
    monkeypatch.setattr("gpt2zh.train.engine.device_here", lambda world: here)
    told = rehearsal(gpu=gpu, ranks=8)
    table = card_named("A100")
    assert table is not None and table.memory == 40 * 2**30
    expected = here.memory if gpu is None else table.memory
    assert (told.card.name, told.device().memory) == ("A100", expected)
    text = told.describe(plan_of(tiny_shards, run, told.world, **BATCH))
    assert f"needs of its {expected // 2**30} GiB" in text
