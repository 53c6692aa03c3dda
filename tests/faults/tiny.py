"""The command line of a run so tiny that two ranks need one second for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def arguments(shards: Path, run: Path, zero: dict[str, Any], *more: str, steps: int) -> list[str]:
    """Return options of launcher/pretrain.py: dropout, warm-up, accumulation, several epochs.

    Args:
        shards: Rows of 32 tokens, or longer ones of full packing.
        run: The run folder; its DeepSpeed JSON is written next to it.
        zero: The part `zero_optimization` of that JSON.
        more: Further options; they override those here.
        steps: Optimizer steps of the run.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    ds = run.parent / f"{run.name}.json"
    ds.write_text(json.dumps({"zero_optimization": zero, "fp16": {"initial_scale_power": 8}}))
    options = {
        "data": shards,
        "output": run,
        "deepspeed-config": ds,
        "model.layers": 1,
        "model.heads": 2,
        "model.width": 32,
        "model.context": 32,
        "model.dropout": 0.1,
        "train.steps": steps,
        "train.global_batch": 8,
        "train.micro_batch": 2,
        "optimizer.lr": 0.01,
        "optimizer.warmup_steps": 4,
        "log.every": 1,
        "log.rows": "true",
        "validation.every": "3steps",
        "validation.sample_tokens": 3,
        "checkpoint.every": "3steps",
        "guard.hang_after": "20s",
    }
    return [*(f"--{name}={value}" for name, value in options.items()), *more]
