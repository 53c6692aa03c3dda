"""A real pretraining run of gpt2zh, as launcher/pretrain.py starts it, with a clock in it.

Logging, the exchange between ranks and the watch are on as always; checkpoints and validation come
after the last step only. The clock uses the marks that a run leaves for its watch.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

from benchmarks.harness.machine import ROOT
from benchmarks.throughput.bare import Trained
from benchmarks.throughput.clock import StepClock
from benchmarks.throughput.job import OPTIMIZER, SEED, Job
from benchmarks.throughput.recipes import Recipe
from gpt2zh.acts.pretrain import make_plan
from gpt2zh.config.cli import parse
from gpt2zh.config.schema import LaunchOptions, PretrainConfig
from gpt2zh.files import run_folder
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.run.telemetry import METRICS
from gpt2zh.run.training import run_training

_FIRST = "computing micro-batch 1 of "


class TimedWatch(Watch):
    """A watch that also notes on a clock where steps begin."""

    def __init__(self, plan: RunPlan, clock: StepClock, *, micro_batches: int) -> None:
        """Take the clock and the number of micro-batches that a step must have."""
        hang_after = plan.config.guard.hang_after.seconds
        super().__init__(plan.world, folder=plan.stacks, hang_after=hang_after)
        self._clock, self._micro_batches = clock, micro_batches

    def mark(self, phase: str) -> None:
        """Note the phase of the main thread."""
        super().mark(phase)
        if phase == "waiting for rows":
            self._clock.step_begins()
        if phase.startswith(_FIRST) and phase != f"{_FIRST}{self._micro_batches}":
            raise MemoryError(f"out of memory: the run has halved its micro-batch ({phase})")


def train(job: Job, recipe: Recipe, clock: StepClock, device: torch.device) -> Trained:
    """Train all steps; the model is in the last checkpoint, the losses are in the log."""
    with tempfile.TemporaryDirectory() as work:
        output = Path(work) / "run"
        plan = make_plan(config_of(job, recipe, output), LaunchOptions(), World())
        count = job.global_batch // recipe.micro_batch
        code = run_training(plan, StopRequest(), TimedWatch(plan, clock, micro_batches=count))
        assert code == 0, code
        records = map(json.loads, (output / METRICS).read_text("utf-8").splitlines())
        losses = {record["step"]: record["loss"] for record in records if record["kind"] == "train"}
        last = run_folder.checkpoint_path(output, job.total_steps)
        model = GPT2LMHeadModel.from_pretrained(last, local_files_only=True, dtype=torch.float32)
    return model.to(device), losses


def config_of(job: Job, recipe: Recipe, output: Path) -> PretrainConfig:
    """Return the config that a user would write."""
    options = {
        "data": job.shards,
        "output": output,
        "deepspeed_config": ROOT / "ds_configs" / f"zero{recipe.stage}.json",
        "seed": SEED,
        "verify_data": "false",
        "train.steps": job.total_steps,
        "train.global_batch": job.global_batch,
        "train.micro_batch": recipe.micro_batch,
        "train.precision": recipe.precision,
        "train.compile": "always" if recipe.compile else "never",
        "checkpoint.every": "never",
        "validation.every": "never",
        "validation.rows": 1,
        "validation.sample_tokens": 0,
        "log.every": max(1, job.total_steps // 5),
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    (config,) = parse(PretrainConfig, argv=arguments, prog="launcher/pretrain.py")
    return replace(config, model=job.model, optimizer=OPTIMIZER)
