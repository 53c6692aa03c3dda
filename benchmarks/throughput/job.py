"""What all arms of a run share: rows, initial weights, batch and number of steps."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.harness.corpus import demo_shards
from benchmarks.throughput.recipes import Recipe, recipe_of
from gpt2zh.config.schema import ModelConfig, OptimizerConfig, PretrainConfig
from gpt2zh.data.shard_data import ShardData
from gpt2zh.plan.corpora import open_shards
from gpt2zh.ranks.world import World

SEED = 1
OPTIMIZER = OptimizerConfig(lr=3e-4, schedule="constant", warmup_steps=10)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run, as all its processes make it of the command line."""

    work: Path
    """Folder for the initial weights, runs and the rows of the demo corpus."""
    shards: Path
    model: ModelConfig
    global_batch: int
    """Rows of an optimizer step."""
    micro_batch: int
    """Rows of a forward pass."""
    warmup: int
    """Steps of each process before its window."""
    steps: int
    """Steps of the window of each process."""
    on_gpu: bool
    compile: bool
    """Whether torch.compile may be used."""
    precision: Literal["fp32", "fp16", "bf16"] | None = None
    """The one of all arms; None: each its own."""

    @classmethod
    def of(cls, options: argparse.Namespace, work: Path, *, on_gpu: bool) -> Job:
        """Return the run of these options."""
        shape = {name: getattr(options, name) for name in ("layers", "heads", "width", "context")}
        return cls(
            work=work,
            shards=options.data or work / "shards",
            model=ModelConfig(**shape),
            global_batch=options.global_batch,
            micro_batch=options.micro_batch,
            warmup=options.warmup,
            steps=options.steps,
            on_gpu=on_gpu,
            compile=on_gpu if options.compile is None else options.compile,
            precision=options.precision or (None if on_gpu else "fp32"),
        )

    @property
    def total_steps(self) -> int:
        """Steps that every process takes; the last one only shows where the one before ended."""
        return self.warmup + self.steps + 1

    def recipe(self, name: str) -> Recipe:
        """Return the recipe of an arm as this run can carry it out."""
        recipe = recipe_of(name)
        own = max(1, self.global_batch // 8) if recipe.is_seed else self.micro_batch
        precision = self.precision or recipe.precision
        return replace(
            recipe,
            micro_batch=recipe.micro_batch or own,
            precision=precision,
            half_weights=recipe.half_weights and precision == "bf16",
            compile=recipe.compile and self.compile,
        )

    def data(self) -> ShardData:
        """Open the shards as a run does; their order is the same for all arms.

        Raises:
            SystemExit: They cannot be used.
        """
        faults: list[str] = []
        config = PretrainConfig(
            data=(str(self.shards),), output=self.work, seed=SEED, model=self.model
        )
        data = open_shards(replace(config, verify_data=False), World(), faults)
        if data is not None and not data.held_out:
            faults.append(f"{self.shards} has no held-out rows; prepare it with some")
        if data is None or faults:
            raise SystemExit(f"error: {'; '.join(faults)}")
        return data


def write_inputs(job: Job, options: argparse.Namespace) -> None:
    """Write the rows, unless the user has given some, and the initial weights."""
    if not options.data:
        rows, length = job.total_steps * job.global_batch, job.model.context
        demo_shards(job.shards, rows=rows, row_length=length, vocabulary=options.vocabulary)
    save_weights(job)


def save_weights(job: Job) -> None:
    """Write the initial weights; gpt2zh makes the same from its seed."""
    from transformers.utils import logging

    from gpt2zh.model.build import new_model

    logging.disable_progress_bar()
    new_model(job.model, job.data().tokenizer, seed=SEED).save_pretrained(job.work / "weights")
