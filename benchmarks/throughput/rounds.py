"""Measure the arms in turn: in new processes on a GPU, in forks of this process on a CPU.

A fork of a process that has imported everything, and done nothing else, starts in no time. A GPU
and its compiler need a process that begins from nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from benchmarks.harness import machine, processes
from benchmarks.harness.cli import Options, say
from benchmarks.harness.processes import ArmError, Figures
from benchmarks.throughput import bare, ours, overhead, trainer
from benchmarks.throughput.clock import StepClock
from benchmarks.throughput.job import Job, write_inputs
from benchmarks.throughput.judge import summary
from benchmarks.throughput.recipes import OVERHEAD
from gpt2zh.data.loader import validation_batches
from gpt2zh.evaluation.perplexity import evaluate
from gpt2zh.ranks.world import World
from gpt2zh.train.deepspeed_library import import_deepspeed

_LOOPS: dict[str, Any] = {"trainer": trainer, "bare": bare, "ours": ours}
_PACKAGES = ("torch", "transformers", "accelerate", "deepspeed", "datasets", "triton")


def measure_all(options: Options, names: list[str]) -> dict[str, Any]:
    """Prepare everything, run the rounds, and judge them."""
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed says that it found no GPU
        torch.set_num_threads(1)  # a pool of threads does not survive a fork
        import_deepspeed()
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")  # by ZeRO engines
    found: dict[str, Any] = {"machine": machine.facts(*_PACKAGES, on_gpu=on_gpu)}
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        job = Job.of(options, Path(work), on_gpu=on_gpu)
        if OVERHEAD in names:
            found["overhead"] = start(job, OVERHEAD)
        if timed := [name for name in names if name != OVERHEAD]:
            found["data"] = str(options.data or "the demo corpus, many times over")
            with contextlib.redirect_stdout(sys.stderr):  # only the tables go to stdout
                write_inputs(job, options)
            measured = processes.in_turn(timed, options.rounds, lambda name, _: _try(job, name))
            found |= summary(job, found["machine"]["device"], measured)
    return found


def _try(job: Job, name: str) -> Figures:
    say(f"measuring {name}")
    try:
        return start(job, name)
    except ArmError as failure:
        say(f"  {failure}")
        return {"error": str(failure)}


def start(job: Job, name: str) -> Figures:
    """Measure an arm in a process of its own, which reads the same command line.

    Raises:
        ArmError: It gave no figures.
    """
    environment = _environment(job, name)
    if not job.on_gpu and not job.compile:
        return processes.fork(lambda: measure_arm(job, name), environment)
    options = [*sys.argv[1:], f"--work={job.work}", f"--child={name}"]
    return processes.start(processes.Start(["-m", "benchmarks.throughput", *options], environment))


def measure_arm(job: Job, name: str) -> Figures:
    """Train an arm from the initial weights, or measure the overhead."""
    if name == OVERHEAD:
        return overhead.measure(job)
    recipe, clock = job.recipe(name), StepClock(warmup=job.warmup, steps=job.steps)
    device = torch.device("cuda" if job.on_gpu else "cpu")
    model, losses = _LOOPS[recipe.loop].train(job, recipe, clock, device)
    return {**clock.figures(device), "losses": losses, "held_out": held_out_loss(job, model)}


def held_out_loss(job: Job, model: GPT2LMHeadModel) -> float:
    """Return nats per token on rows that no arm has trained on, in fp32 and without dropout.

    It is the same for all arms, whatever they train with: attention and logits of transformers.
    """
    torch.set_float32_matmul_precision("highest")
    model.float().eval().set_attn_implementation("sdpa")
    text = job.data().held_out[0]
    rows = validation_batches(text, limit=64, micro_batch=4, world=World(), device=model.device)
    loss = bare.WholeLogits(model)
    return evaluate(loss, rows, device=model.device, tokens=0, characters=0).loss


def _environment(job: Job, name: str) -> dict[str, str]:
    """Return variables: one GPU, for the Trainer takes all; on a CPU and for tiny steps one thread.

    Threads make tiny products slower, and much slower if other programs run.
    """
    own = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TMPDIR": str(job.work)}
    if job.on_gpu:
        own["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    else:
        own["DS_ACCELERATOR"] = "cpu"
    if not job.on_gpu or name == OVERHEAD:
        own["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    return own
