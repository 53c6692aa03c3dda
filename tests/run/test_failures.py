"""What a run says when memory runs out or it crashes, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from patience import LIMIT
from plans import ROOT, plan_of
from ranks import WORKERS

from gpt2zh.config.exit_codes import Exit
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.run.failures import explain_out_of_memory, is_out_of_memory


@pytest.mark.ranks
def test_out_of_memory_says_which_knob_to_turn_and_what_was_estimated(
    tmp_path: Path, tiny_shards: Path
) -> None:
    """Of the micro-batch that is left after halving, if it happens after that."""
    phases = {"step": "computing micro-batch", "trial": "trying a micro-batch"}
    done = subprocess.run(
        [
            *(sys.executable, str(WORKERS / "out_of_memory.py")),
            *(str(tiny_shards), str(tmp_path), json.dumps(phases)),
        ],
        env=os.environ | {"PYTHONPATH": f"{WORKERS.parent / 'support'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    told = {name: (tmp_path / f"{name}.log").read_text("utf-8") for name in phases}
    codes, text = json.loads(done.stdout), told["step"]
    assert codes["step"] == [Exit.LOST_RANK, Exit.OUT_OF_MEMORY], text[-3000:]
    assert "error: rank 1 ran out of memory while computing micro-batch 1" in text
    assert "--train.micro_batch 2" in text and "--train.activation_checkpointing true" in text
    assert "estimate before the start: about " in text
    assert "rank 1 crashed" in text  # what rank 0 says of it
    assert "Traceback" not in text
    text = told["trial"]
    assert codes["trial"][1] == Exit.OUT_OF_MEMORY, text[-3000:]
    assert "a micro-batch of 4 rows does not fit" in text and "error: rank 1 ran out of" in text
    assert "--train.micro_batch 2" not in text and "--train.activation_checkpointing true" in text


def cures(data: Path, ranks: int, **more: object) -> list[str]:
    """The options of the advice, for a model beside which buckets are small."""
    large = {"model__width": 1024, "model__layers": 24, "dry_run": "true"}
    world = World(0, ranks)
    plan = plan_of(data, data.parent / "none", world, **{**large, **more})
    watch = Watch(world, folder=plan.stacks, hang_after=0)
    lines = explain_out_of_memory(MemoryError(), watch, plan).splitlines()
    return [line.split(" (")[0].strip() for line in lines[3:]]


def jsons(data: Path, ranks: int, **more: object) -> list[str]:
    """The names of the DeepSpeed JSONs of the advice."""
    return [Path(cure).stem for cure in cures(data, ranks, **more) if "ds_configs" in cure]


def test_a_smaller_micro_batch_divides_the_rows_of_a_rank(tiny_shards: Path) -> None:
    odd = {"train__global_batch": 9, "train__micro_batch": 9}
    assert "--train.micro_batch 3" in cures(tiny_shards, 1, **odd)
    one = cures(tiny_shards, 2, train__micro_batch=1, train__activation_checkpointing="true")
    assert one[0].startswith("--deepspeed_config")


@pytest.mark.parametrize(
    ("name", "ranks", "advised"),
    [
        ("zero0", 8, ["zero1", "zero2", "zero3", "zero3_offload"]),
        ("zero1", 8, ["zero2", "zero3", "zero3_offload"]),
        ("zero2_offload", 8, ["zero3", "zero3_offload"]),  # an eighth of all, but all on the GPU
        ("zero3_offload", 8, []),
        ("zero1", 2, ["zero3", "zero2_offload", "zero3_offload"]),  # stage 2 has larger buckets
        ("zero0", 1, ["zero2_offload", "zero3_offload"]),  # there is nobody to share with
        ("zero3_offload", 1, []),
    ],
)
def test_a_json_is_advised_if_it_needs_less_than_the_one_that_is_there(
    tiny_shards: Path, name: str, ranks: int, advised: list[str]
) -> None:
    small = {"train__micro_batch": 1, "deepspeed_config": ROOT / "ds_configs" / f"{name}.json"}
    assert jsons(tiny_shards, ranks, **small) == advised


def test_what_the_run_would_be_refused_with_is_not_advised(tiny_shards: Path) -> None:
    small = {"train__micro_batch": 1}
    assert jsons(tiny_shards, 8, **small, optimizer__kind="muon") == ["zero2"]
    always = jsons(tiny_shards, 8, **small, train__compile="always")
    assert always == ["zero2", "zero2_offload"]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ..."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, answer: bool) -> None:
    assert is_out_of_memory(error) is answer
