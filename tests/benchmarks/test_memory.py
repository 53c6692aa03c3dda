"""benchmarks/memory.py: its way of counting on a CPU, and its small form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.memory import cases
from gpt2zh.model.loss import SummedLoss
from tests.support.held.meters import CpuMeter


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


def test_the_small_form_runs_on_a_cpu(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found, printed = run("memory", "--small", "--only=stage 1")
    assert [one["name"] for one in found["cases"]] == ["tiny, stage 1, bf16"]
    assert not found["failed"]
    (line,) = (line for line in printed.splitlines() if line.startswith("| tiny"))
    off = float(line.split("|")[8].rstrip("% "))
    assert abs(off) < 3, printed


def test_a_setting_that_no_name_contains_is_an_error(run: Callable) -> None:
    with pytest.raises(SystemExit, match="error: no setting's name contains 'stage 9'"):
        run("memory", "--small", "--only=stage 9")


@pytest.mark.parametrize("small", [True, False])
def test_every_setting_trains_at_the_stage_of_its_name(small: bool) -> None:
    for case in list(cases(small=small)):
        assert f"stage {case.zero['stage']}," in case.name
        assert case.precision in case.name
        assert case.compiled == ("compiled" in case.name)
        assert case.recompute == ("recompute" in case.name)
