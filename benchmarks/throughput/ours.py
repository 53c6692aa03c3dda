"""A real pretraining run of gpt2zh, as launcher/pretrain.py starts it, with a clock in it.

Logging, the exchange between ranks and the watch are on as always; checkpoints and validation come
after the last step only. The clock uses the marks that a run leaves for its watch.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
import time
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

from benchmarks.harness.machine import ROOT
from benchmarks.throughput.clock import StepClock
from benchmarks.throughput.job import Job
from benchmarks.throughput.recipes import Recipe
from gpt2zh.acts.pretrain import make_plan
from gpt2zh.config.duration import Duration
from gpt2zh.config.schema import (
    CheckpointConfig,
    LaunchOptions,
    LogConfig,
    PretrainConfig,
    TrainConfig,
    ValidationConfig,
)
from gpt2zh.files import run_folder
from gpt2zh.plan.run_plan import RunPlan
from gpt2zh.ranks.stop import StopRequest
from gpt2zh.ranks.watch import Watch
from gpt2zh.ranks.world import World
from gpt2zh.run.telemetry import METRICS
from gpt2zh.run.training import run_training

_COMPUTING = re.compile(r"computing micro-batch 1 of (\d+)")


class TimedWatch(Watch):
    """A watch that also notes on a clock where steps begin and how long they wait for rows."""

    def __init__(self, plan: RunPlan, clock: StepClock, *, micro_batches: int) -> None:
        """Take the clock and the number of micro-batches that a step must have."""
        hang_after = plan.config.guard.hang_after.seconds
        super().__init__(plan.world, folder=plan.stacks, hang_after=hang_after)
        self._clock, self._micro_batches = clock, micro_batches
        self._waits_since = 0.0

    def mark(self, phase: str) -> None:
        """Note the phase of the main thread."""
        super().mark(phase)
        if phase == "waiting for rows":
            self._clock.step_begins()
            self._waits_since = time.perf_counter()
        elif found := _COMPUTING.match(phase):
            self._clock.waited(time.perf_counter() - self._waits_since)
            if int(found[1]) != self._micro_batches:  # a run halves what does not fit
                raise MemoryError(f"out of memory: {found[1]} micro-batches instead of fewer")


def train(
    job: Job, recipe: Recipe, clock: StepClock, device: torch.device
) -> tuple[GPT2LMHeadModel, dict[int, float]]:
    """Train all steps.

    Returns:
        The model with fp32 weights, from the checkpoint of the last step, and the losses that the
        run has logged, by step.
    """
    with tempfile.TemporaryDirectory() as work:
        config = config_of(job, recipe, Path(work) / "run")
        plan = make_plan(config, LaunchOptions(), World())
        micro_batches = job.global_batch // int(recipe.micro_batch)
        code = run_training(
            plan, StopRequest(), TimedWatch(plan, clock, micro_batches=micro_batches)
        )
        assert code == 0, code
        lines = (config.output / METRICS).read_text("utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        last = run_folder.checkpoint_path(config.output, job.total_steps)
        model = GPT2LMHeadModel.from_pretrained(last, local_files_only=True, dtype=torch.float32)
    losses = {r["step"]: r["loss"] for r in records if r["kind"] == "train"}
    return model.to(device), losses


def config_of(job: Job, recipe: Recipe, output: Path) -> PretrainConfig:
    """Return the config that a user would write."""
    return PretrainConfig(
        data=(job.shards,),
        output=output,
        deepspeed_config=ROOT / "ds_configs" / f"zero{recipe.stage}.json",
        seed=job.seed,
        verify_data=False,
        model=dataclasses.replace(job.model, dropout=recipe.dropout, activation=recipe.activation),
        train=TrainConfig(
            steps=job.total_steps,
            global_batch=job.global_batch,
            micro_batch=int(recipe.micro_batch),
            precision=recipe.precision,
            compile="always" if recipe.compile else "never",
        ),
        optimizer=job.optimizer,
        checkpoint=CheckpointConfig(every=Duration()),
        validation=ValidationConfig(every=Duration(), rows=1, sample_tokens=0),
        log=LogConfig(every=job.log_every),
    )
