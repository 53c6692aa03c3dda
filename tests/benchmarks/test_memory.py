"""benchmarks/memory.py: its way of counting on a CPU, and its small form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.memory import cases
from gpt2zh.model.loss import SummedLoss
from tests.support.held.meters import CpuMeter

ROOT = Path(__file__).parents[2]


def build() -> SummedLoss:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_head=2, n_embd=64, n_positions=64, vocab_size=1024)
    return SummedLoss(GPT2LMHeadModel(config).to(torch.bfloat16))


def take(model: SummedLoss) -> None:
    ids = torch.randint(0, 1024, (8, 64))
    model(ids, ids).backward()


def allocated() -> int:
    """The peak by torch's own allocator, which tells its profiler of all it gives away."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        take(build())
    events = trace.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    level = peak = 0
    for _, change in changes:
        level += change
        peak = max(peak, level)
    return peak


def test_the_meter_sees_what_the_allocator_gives_away() -> None:
    expected = allocated()
    meter = CpuMeter()
    with meter.watching(), meter.phase("all"):
        take(build())
    assert 0.98 < meter.levels["all"].peak / expected < 1.02


def test_the_meter_forgets_what_is_freed() -> None:
    meter = CpuMeter()
    with meter.watching():
        kept = torch.ones(1000)
        with meter.phase("product"):
            torch.outer(kept, kept).sum().item()
        assert meter.levels["product"].begin == kept.nbytes == meter.levels["product"].end
        assert meter.levels["product"].peak >= 1000 * kept.nbytes
        view = kept[:10]
        del kept
        assert meter.level == 4000  # a view keeps the whole storage
        del view
    assert meter.level == 0


def test_the_small_form_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        "--small",
        "--only=stage 1",
        f"--json={out}",
    ]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text("utf-8"))
    assert [one["name"] for one in found["cases"]] == ["tiny, stage 1, bf16"] and not found[
        "failed"
    ]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("| tiny"))
    off = float(line.split("|")[8].rstrip("% "))
    assert abs(off) < 3, done.stdout


@pytest.mark.parametrize("small", [True, False])
def test_every_setting_trains_at_the_stage_of_its_name(small: bool) -> None:
    for case in list(cases(small=small)):
        assert f"stage {case.zero['stage']}," in case.name
        assert case.precision in case.name
        assert case.compiled == ("compiled" in case.name)
        assert case.recompute == ("recompute" in case.name)
