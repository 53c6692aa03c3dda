"""Measure the arms in turn: in new processes on a GPU, in forks of this process on a CPU.

A fork of a process that has imported everything, and done nothing else, starts in no time. A GPU
and its compiler need a process that begins from nothing.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from benchmarks.harness import processes
from benchmarks.harness.cli import say
from benchmarks.harness.machine import device_name
from benchmarks.harness.processes import ArmError, Figures
from benchmarks.throughput.clock import StepClock, matrix_product
from benchmarks.throughput.job import Job
from benchmarks.throughput.recipes import BEST, OVERHEAD, recipe_of
from gpt2zh.data.loader import validation_batches
from gpt2zh.model.loss import IGNORED
from gpt2zh.ranks.world import World

_DEVICE = "device"  # not an arm: the name and the matrix product of the device
_LOOPS = {"trainer": "trainer", "bare": "bare", "gpt2zh": "ours"}
_ROWS_AT_ONCE = 4  # so that their fp32 logits stay small
_PROBE_STEPS = 1


class Rounds:
    """The arms of one job."""

    def __init__(self, job: Job, work: Path) -> None:
        """Take the job and a folder for what the arms write."""
        self._job, self._work = job, work

    def run(self, names: list[str], rounds: int) -> tuple[list[Figures], dict[str, list[Figures]]]:
        """Measure the device and all arms once in each round.

        Returns:
            Figures of the device by round, and figures by arm and round, or an `error`.
        """
        asked = {name: self._with_rows(name) for name in names}

        def measure(name: str, number: int) -> Figures:
            if name == _DEVICE:
                return self.start(_DEVICE)
            say(f"round {number + 1} of {rounds}: {name}")
            try:
                return self.start(asked[name])
            except ArmError as failure:
                say(f"  {failure}")
                return {"error": str(failure)}

        found = processes.in_turn([_DEVICE, *names], rounds, measure)
        return found.pop(_DEVICE), found

    def start(self, name: str, job: Job | None = None) -> Figures:
        """Measure an arm in a process of its own.

        Raises:
            ArmError: It gave no figures.
        """
        job = job or self._job
        environment = _environment(job, self._work, name)
        if not job.on_gpu and not job.compile:
            return processes.fork(lambda: measure_arm(job, name), environment)
        described = self._work / "job.json"
        job.write(described)
        module = ("-m", "benchmarks.throughput", f"--child={name}", f"--job={described}")
        return processes.start(processes.Start(module, environment))

    def _with_rows(self, name: str) -> str:
        """Replace `best` by a number; if there is none, the rounds will show why."""
        if recipe_of(name).micro_batch != BEST:
            return name
        base = name.partition("@")[0]
        short = replace(self._job, warmup=0, steps=_PROBE_STEPS)

        def try_rows(rows: int) -> None:
            say(f"does {base} fit with {rows} rows at once?")
            self.start(f"{base}@{rows}", short)

        try:
            return f"{base}@{largest_micro_batch(self._job.global_batch, try_rows)}"
        except ArmError:
            return f"{base}@{self._job.global_batch}"


def largest_micro_batch(rows: int, try_rows: Callable[[int], None]) -> int:
    """Return the largest divisor of the global batch that fits into memory.

    Args:
        rows: The global batch.
        try_rows: Tries so many rows at once.

    Raises:
        ArmError: It failed for another reason, or not even one row fits.
    """
    for choice in (n for n in range(rows, 0, -1) if rows % n == 0):
        try:
            try_rows(choice)
            return choice
        except ArmError as failure:
            if not failure.lacked_memory:
                raise
    raise ArmError("out of memory with a micro-batch of one row")


def import_everything() -> None:
    """Import what forks need."""
    from gpt2zh.train.deepspeed_library import import_deepspeed

    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    import_deepspeed()
    importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")  # by every ZeRO engine
    for part in (*_LOOPS.values(), "overhead"):
        importlib.import_module(f"benchmarks.throughput.{part}")


def measure_arm(job: Job, name: str) -> Figures:
    """Train an arm from the initial weights, or measure the overhead or the device."""
    if name == _DEVICE:
        device = device_name(on_gpu=job.on_gpu)
        return {"device": device, "matrix_product": matrix_product(on_gpu=job.on_gpu)}
    if name == OVERHEAD:
        from benchmarks.throughput import overhead

        return overhead.measure(job)
    recipe = job.applied(name, recipe_of(name))
    assert recipe.micro_batch != BEST, name
    clock = StepClock(warmup=job.warmup, steps=job.steps)
    loop = importlib.import_module(f"benchmarks.throughput.{_LOOPS[recipe.loop]}")
    model, losses = loop.train(job, recipe, clock, torch.device("cuda" if job.on_gpu else "cpu"))
    found = {"micro_batch": recipe.micro_batch, "losses": losses}
    return clock.figures() | found | {"held_out": held_out_loss(job, model)}


@torch.no_grad()
def held_out_loss(job: Job, model: GPT2LMHeadModel) -> float:
    """Return nats per token on rows that no arm has trained on, in fp32 and without dropout.

    It is the same for all arms, whatever they train with: attention and logits of transformers.
    """
    torch.set_float32_matmul_precision("highest")
    model.float().eval().set_attn_implementation("sdpa")
    (held_out,) = job.data().held_out
    nats, targets = 0.0, 0
    for batch in validation_batches(
        held_out,
        limit=job.held_out_rows,
        micro_batch=_ROWS_AT_ONCE,
        world=World(),
        device=model.device,
    ):
        logits = model(input_ids=batch.input_ids, use_cache=False).logits[:, :-1]
        nats += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1),
            batch.labels[:, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        ).item()
        targets += batch.targets
    return nats / targets


def _environment(job: Job, work: Path, name: str) -> dict[str, Any]:
    """Return variables: one GPU, for the Trainer takes all; on a CPU and for tiny steps one thread.

    Threads make tiny products slower, and much slower if other programs run.
    """
    own = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TMPDIR": str(work)}
    if job.on_gpu:
        own["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    else:
        own["DS_ACCELERATOR"] = "cpu"
    if not job.on_gpu or name == OVERHEAD:
        own["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    return own
