"""What only a GPU can show of the model's speed: flash attention, whole graphs, no waiting."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gpt2zh.config.schema import ModelConfig
from gpt2zh.model.build import new_model
from gpt2zh.model.loss import SummedLoss
from gpt2zh.text.tokenizer import load_tokenizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU is here"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def compiled(tiny_vocabulary: Path) -> SummedLoss:
    torch._dynamo.reset()
    shape = ModelConfig(layers=2, heads=4, width=256, context=256)
    model = SummedLoss(new_model(shape, load_tokenizer(tiny_vocabulary), seed=1).cuda().bfloat16())
    model.compile(fullgraph=True, dynamic=False)
    return model


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, 1000, (8, 256), device="cuda")


def test_compiled_attention_runs_in_flash_kernels(compiled: SummedLoss, ids: torch.Tensor) -> None:
    compiled(ids, ids.clone()).backward()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        compiled(ids, ids.clone()).backward()
    kernels = [event.key for event in profile.key_averages()]
    assert any("flash" in name.lower() or "cudnn" in name.lower() for name in kernels), kernels


def test_a_micro_batch_never_waits_for_the_gpu(compiled: SummedLoss, ids: torch.Tensor) -> None:
    compiled(ids, ids.clone()).backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        compiled(ids, ids.clone()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_logits_of_all_tokens_never_exist(tiny_vocabulary: Path) -> None:
    """The peak of a micro-batch lies below the logits of all its tokens in fp32."""
    shape = ModelConfig(layers=1, heads=2, width=64, context=512)
    tokenizer = load_tokenizer(tiny_vocabulary)
    model = SummedLoss(new_model(shape, tokenizer, seed=1).cuda().bfloat16())
    ids = torch.randint(0, 1000, (256, 512), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    model(ids, ids.clone()).backward()
    whole = ids.numel() * model.head.weight.shape[0] * 4
    assert torch.cuda.max_memory_allocated() < whole


def test_the_benchmark_of_throughput_runs(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "benchmarks.throughput", "--small", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(out.read_text("utf-8"))
