"""Tiny training runs on two ranks, in which a fault may strike: forks, so that a start is quick."""

from __future__ import annotations

import json
from pathlib import Path

from torture.faults import Fault
from torture.ranks import Ended, start


def arguments(shards: Path, run: Path, zero: dict, *more: str, steps: int) -> list[str]:
    """The command line of a tiny run in several epochs, with dropout."""
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


def go(argv: list[str], run: Path, fault: Fault | None = None) -> Ended:
    """Start two ranks and wait until they have ended."""
    return start(
        argv,
        ranks=2,
        fault=fault,
        sabotage=None,
        log=run.with_suffix(".log"),
        told=run.with_suffix(".told"),
        patience=90.0,
    )
