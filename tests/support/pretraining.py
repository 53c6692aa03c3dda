"""Tiny pretraining runs: their command lines, and what they left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

STEPS = 7


def arguments(
    shards: Path, output: Path, zero: dict, precision: str = "fp32", **more: object
) -> list[str]:
    """The command line of a tiny run."""
    ds = output.parent / f"{output.name}.json"
    ds.parent.mkdir(parents=True, exist_ok=True)
    # The scale grows after every third good step; too large at first, it skips some steps.
    power = 21 if "overflow" in str(output) else 12
    scaling = {"initial_scale_power": power, "loss_scale_window": 3, "hysteresis": 1}
    ds.write_text(json.dumps({"zero_optimization": zero, "fp16": scaling}))
    options = {
        "data": shards,
        "output": output,
        "deepspeed-config": ds,
        "model.layers": 2,
        "model.heads": 2,
        "model.width": 30,  # 3 ranks do not divide all parameters of this width
        "model.context": 32,
        "model.dropout": 0.1,
        "train.steps": STEPS,
        "train.global_batch": 8,
        "train.micro_batch": 2,
        "train.precision": precision,
        "optimizer.lr": 0.01,
        "optimizer.warmup_steps": 4,
        "log.every": 1,
        "validation.every": "4steps",
        "validation.sample_tokens": 4,
        "checkpoint.every": "never",
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return [f"--{name}={value}" for name, value in options.items()]


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Weights and moments of a checkpoint."""
    found = {}
    for path in checkpoint.glob("*.safetensors"):
        found |= load_file(path)
    return found


def losses(run: Path, figure: str = "loss") -> list[tuple[int, Any]]:
    """Step and loss, or another figure, of every training line of metrics.jsonl."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [(line["step"], line[figure]) for line in lines if line["kind"] == "train"]
