"""What the engine costs besides the mathematics: our step minus a bare torch step, in ms.

The model has the 148 parameter tensors of GPT-2 small (with 12 layers), but is so narrow and its
rows so short that the mathematics takes almost no time. What is left is what every step pays on any
device: DeepSpeed's hooks, buckets and copies, tensor by tensor, and ours. Three ways of taking a
step alternate in one process of one rank:

* `torch`: a bare loop (bare.py), in bf16 with fp32 master weights as in DeepSpeed.
* `deepspeed`: forward, `backward` and `step` of the engine, nothing else.
* `gpt2zh`: `train_step` around the same engine: sums, guards, marks.

Overheads are medians of the differences within a round. On a CPU the time is that of the processor,
which other programs do not lengthen; on a GPU the device is waited for around every step: such a
tiny step takes as long as the host needs to launch it.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.harness.machine import ROOT
from benchmarks.harness.processes import in_turn
from benchmarks.throughput.bare import FullWeights, HalfWeights, take_step
from benchmarks.throughput.job import OPTIMIZER, Job
from gpt2zh.config.deepspeed import resolve
from gpt2zh.config.schema import ModelConfig, TrainConfig
from gpt2zh.data.batch import Batch
from gpt2zh.model.build import new_model
from gpt2zh.model.loss import SummedLoss
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.train.engine import build_engine, close, start_processes
from gpt2zh.train.optimizer import build_optimizer
from gpt2zh.train.step import train_step

PRECISIONS, STAGES, MICRO_BATCHES = ("fp32", "bf16"), (0, 1, 2), (1, 4)
WIDTH, CONTEXT, VOCABULARY = 64, 8, 128
Way = Callable[[], Any]


def measure(job: Job) -> dict[str, Any]:
    """Measure all cases in this process."""
    device = start_processes(World())
    cases = [
        measure_case(job, *case, device)
        for case in itertools.product(PRECISIONS, STAGES, MICRO_BATCHES)
    ]
    close()
    return {"rounds": job.steps, "tensors": 12 * job.model.layers + 4, "cases": cases}


def measure_case(
    job: Job, precision: str, stage: int, micro_batches: int, device: torch.device
) -> dict[str, Any]:
    """Let the ways alternate; return medians in ms, and what each takes more than `torch`."""
    ways = ways_of(job.model.layers, precision, stage, micro_batches, device)
    rounds = job.warmup + job.steps
    taken = in_turn(ways, rounds, lambda way, _: _timed(ways[way], device))
    found: dict[str, Any] = {"precision": precision, "stage": stage, "micro_batches": micro_batches}
    for way, times in taken.items():
        more = [a - b for a, b in zip(times, taken["torch"], strict=True)]
        found[f"{way}_ms"] = statistics.median(times[job.warmup :])
        found[f"{way}_more_ms"] = statistics.median(more[job.warmup :])
    return found


def ways_of(
    layers: int, precision: Any, stage: int, micro_batches: int, device: torch.device
) -> dict[str, Way]:
    """Return three ways of taking the same step, around one engine and one bare loop."""
    train = TrainConfig(global_batch=micro_batches, micro_batch=1, precision=precision)
    raw = json.loads((ROOT / "ds_configs" / f"zero{stage}.json").read_text("utf-8"))
    wrapped = _model(layers)
    optimizer = build_optimizer(wrapped.model, OPTIMIZER)
    engine = build_engine(wrapped, optimizer, resolve(raw, train, OPTIMIZER, 1))
    engine.train()
    kind = HalfWeights if precision == "bf16" else FullWeights
    weights = kind(_model(layers).to(device).train(), precision)
    ids = torch.arange(CONTEXT, device=device)[None] % VOCABULARY
    batches = [Batch(ids, ids, CONTEXT - 1, CONTEXT, np.zeros(1, np.int64))] * micro_batches
    watch = Watch(World(), folder=Path(), hang_after=0)

    def deepspeed() -> None:
        targets = sum(batch.targets for batch in batches)
        for number, batch in enumerate(batches, start=1):
            engine.set_gradient_accumulation_boundary(number == micro_batches)
            loss = engine(batch.input_ids, batch.labels) / targets
            engine.backward(loss, scale_wrt_gas=False)
            engine.step()

    def gpt2zh() -> None:
        result = train_step(engine, batches, OPTIMIZER.lr, seed=1, watch=watch)
        assert result is not None and result.applied

    bare = partial(take_step, weights, batches, OPTIMIZER.lr)
    return {"torch": bare, "deepspeed": deepspeed, "gpt2zh": gpt2zh}


def _model(layers: int) -> SummedLoss:
    shape = ModelConfig(layers=layers, heads=1, width=WIDTH, context=CONTEXT)
    tokenizer: Any = SimpleNamespace(vocab_size=VOCABULARY, bos_id=1, eos_id=2, pad_id=0)
    return SummedLoss(new_model(shape, tokenizer, seed=1))


def _timed(step: Way, device: torch.device) -> float:
    """Return how long a step takes, in ms."""
    if device.type != "cuda":
        begin = time.process_time()
        step()
        return 1000 * (time.process_time() - begin)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin)
