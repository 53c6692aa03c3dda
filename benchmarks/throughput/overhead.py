"""What the engine costs besides the mathematics: our step minus a bare torch step, in ms.

The model has the 148 parameter tensors of GPT-2 small (with 12 layers), but is so narrow and its
rows so short that the mathematics takes almost no time. What is left is what every step pays on any
device: DeepSpeed's hooks, buckets and copies, tensor by tensor, and ours. Three ways of taking a
step alternate in one process of one rank:

* `torch`: a bare loop (bare.py), in bf16 with fp32 master weights as in DeepSpeed.
* `deepspeed`: forward, `backward` and `step` of the engine, nothing else.
* `gpt2zh`: `train_step` around the same engine: sums, guards, marks.

Overheads are medians of the differences within a round. Steps of 1 and of 4 micro-batches show what
is paid per micro-batch and what per step. On a CPU the time is that of the processor, which other
programs do not lengthen; on a GPU the device is waited for around every step: such a tiny step
takes as long as the host needs to launch it.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.harness.machine import ROOT
from benchmarks.harness.processes import in_turn
from benchmarks.throughput.bare import FullWeights, HalfWeights
from benchmarks.throughput.job import Job
from benchmarks.throughput.recipes import recipe_of
from gpt2zh.config.deepspeed import resolve
from gpt2zh.config.schema import ModelConfig, OptimizerConfig, TrainConfig
from gpt2zh.data.batch import Batch
from gpt2zh.model.build import new_model
from gpt2zh.model.loss import SummedLoss
from gpt2zh.ranks.control import ControlGroup
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.train.engine import build_engine, close, start_processes
from gpt2zh.train.optimizer import build_optimizer
from gpt2zh.train.step import train_step

WIDTH, CONTEXT, VOCABULARY = 64, 8, 128
MANY = 4  # micro-batches
_WARMUP = 5  # steps of each way


def measure(job: Job) -> dict[str, Any]:
    """Measure all cases in this process."""
    device = start_processes(World())
    control, row = ControlGroup(), [0] * 16  # as the hooks of a run exchange it
    exchange = [_timed(lambda: control.exchange(row), device) for _ in range(job.overhead_steps)]
    cases = [
        Case(job.layers, stage, precision, micro_batches, device).measure(job.overhead_steps)
        for precision in job.precisions
        for stage in job.stages
        for micro_batches in (1, MANY)
    ]
    close()
    return {
        "rounds": job.overhead_steps,
        "tensors": 12 * job.layers + 4,
        "exchange_ms": statistics.median(exchange),
        "cases": cases,
    }


class Case:
    """A stage, a precision and a number of micro-batches: the same step in three ways."""

    def __init__(
        self, layers: int, stage: int, precision: Any, micro_batches: int, device: torch.device
    ) -> None:
        """Build an engine and a bare loop of the same model."""
        self.facts = {"stage": stage, "precision": precision, "micro_batches": micro_batches}
        self.device = device
        config = OptimizerConfig()
        train = TrainConfig(global_batch=micro_batches, micro_batch=1, precision=precision)
        raw = json.loads((ROOT / "ds_configs" / f"zero{stage}.json").read_text("utf-8"))
        wrapped = _model(layers)
        optimizer = build_optimizer(wrapped.model, config)
        self.engine = build_engine(wrapped, optimizer, resolve(raw, train, config, 1))
        self.engine.train()
        self.module = _model(layers).to(device).train()
        kind = HalfWeights if precision == "bf16" else FullWeights
        recipe = replace(recipe_of("bare"), precision=precision)
        self.weights: HalfWeights | FullWeights = kind(self.module, config, recipe)
        self.clip, self.lr = config.max_grad_norm, config.lr
        ids = torch.arange(CONTEXT, device=device)[None] % VOCABULARY
        self.batches = [
            Batch(ids, ids, CONTEXT - 1, CONTEXT, np.zeros(1, np.int64))
            for _ in range(micro_batches)
        ]
        self.watch = Watch(World(), folder=Path(), hang_after=0)

    def torch(self) -> None:
        """Take a step of the bare loop."""
        for group in self.weights.optimizer.param_groups:
            group["lr"] = self.lr
        targets = sum(batch.targets for batch in self.batches)
        for batch in self.batches:
            self.weights.backward(self.module(batch.input_ids, batch.labels) / targets)
        self.weights.step(self.clip)

    def deepspeed(self) -> None:
        """Take a step of DeepSpeed alone."""
        targets = sum(batch.targets for batch in self.batches)
        for number, batch in enumerate(self.batches, start=1):
            self.engine.set_gradient_accumulation_boundary(number == len(self.batches))
            loss = self.engine(batch.input_ids, batch.labels) / targets
            self.engine.backward(loss, scale_wrt_gas=False)
            self.engine.step()

    def gpt2zh(self) -> None:
        """Take a step of ours."""
        result = train_step(self.engine, self.batches, self.lr, seed=1, watch=self.watch)
        assert result is not None and result.applied

    def measure(self, steps: int) -> dict[str, Any]:
        """Let the ways alternate; return medians in ms, and what each takes more than `torch`."""
        ways = {"torch": self.torch, "deepspeed": self.deepspeed, "gpt2zh": self.gpt2zh}
        taken = in_turn(ways, _WARMUP + steps, lambda way, _: _timed(ways[way], self.device))
        found = {way: times[_WARMUP:] for way, times in taken.items()}
        self.engine.destroy()
        case: dict[str, Any] = {**self.facts, "times_ms": found}
        for way, times in found.items():
            pairs = zip(times, found["torch"], strict=True)
            case[f"{way}_ms"] = statistics.median(times)
            case[f"{way}_more_ms"] = statistics.median(a - b for a, b in pairs)
        return case


def _model(layers: int) -> SummedLoss:
    shape = ModelConfig(layers=layers, heads=1, width=WIDTH, context=CONTEXT)
    tokenizer: Any = SimpleNamespace(vocab_size=VOCABULARY, bos_id=1, eos_id=2, pad_id=0)
    return SummedLoss(new_model(shape, tokenizer, seed=1))


def _timed(step: Callable[[], Any], device: torch.device) -> float:
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
