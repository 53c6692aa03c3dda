"""What only a GPU can show: half precision in earnest, and an exact resume there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gpt2zh.config.exit_codes import Exit

ROOT = Path(__file__).parent.parent.parent
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU is here"),
]


def pretrain(shards: Path, output: Path, *more: str, code: Exit = Exit.DONE) -> None:
    """Train 20 steps of a tiny model on one GPU, which ends with an exit code."""
    command = [
        *(sys.executable, "launcher/pretrain.py", "--config=configs/gpt2-tiny.yaml"),
        *(f"--data={shards}", f"--output={output}", "--model.context=32", "--train.steps=20"),
        *("--log.every=1", "--optimizer.warmup-steps=5", *more),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr


def losses(run: Path) -> list[float]:
    """The loss of every step."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line["loss"] for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_resumed_run_equals_the_undisturbed_one(
    tiny_shards: Path, tmp_path: Path, precision: str, stage: int
) -> None:
    options = (f"--train.precision={precision}", f"--deepspeed-config=ds_configs/zero{stage}.json")
    options = (*options, "--train.deterministic=true")
    pretrain(tiny_shards, tmp_path / "whole", *options)
    pretrain(tiny_shards, tmp_path / "parts", *options, "--stop-after=9steps", code=Exit.STOPPED)
    pretrain(tiny_shards, tmp_path / "parts", *options)
    assert losses(tmp_path / "whole")[-1] < losses(tmp_path / "whole")[0] - 1
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    whole, parts = (
        load_file(tmp_path / name / "checkpoint-20" / "model.safetensors")
        for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("json_file", ["zero2_offload", "zero3_offload"])
def test_the_offload_profiles_train(tiny_shards: Path, tmp_path: Path, json_file: str) -> None:
    pretrain(
        *(tiny_shards, tmp_path / "run", "--train.precision=bf16"),
        f"--deepspeed-config=ds_configs/{json_file}.json",
    )
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0] - 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_verify_resume_finds_a_run_exact(tiny_shards: Path, tmp_path: Path, precision: str) -> None:
    """With dropout, and checkpoints that were written beside the steps from page-locked memory."""
    options = (f"--train.precision={precision}", "--model.dropout=0.1", "--checkpoint.every=5steps")
    options = (*options, "--train.deterministic=true")
    pretrain(tiny_shards, tmp_path / "run", *options)
    for verb in ("checkpoint", "resume"):
        command = [sys.executable, "-m", "gpt2zh", "verify", verb, str(tmp_path / "run")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
