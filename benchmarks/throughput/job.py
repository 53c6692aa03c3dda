"""What all arms of a run share: rows, initial weights, batch and number of steps."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.harness.corpus import demo_shards
from benchmarks.throughput.recipes import Recipe
from gpt2zh.config.schema import ModelConfig, OptimizerConfig
from gpt2zh.config.stages import Stages
from gpt2zh.data.manifest import TOKENIZER_DIR
from gpt2zh.data.shard import VALIDATION, ShardSet
from gpt2zh.data.shard_data import Corpus, ShardData
from gpt2zh.text.tokenizer import TextTokenizer, load_tokenizer


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run, as its processes read it."""

    shards: str
    """Folder of shards; their order is the same for all arms."""
    weights: str
    """Hugging Face folder of the initial weights."""
    layers: int
    heads: int
    width: int
    context: int
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
    precision: Literal["", "fp32", "fp16", "bf16"] = ""
    """The one of all arms; empty: each its own."""
    log_every: int = 10
    held_out_rows: int = 64
    workers: int = 4
    """Of the Trainer's data loader in `hf-best`."""
    lr: float = 3e-4
    seed: int = 1
    overhead_steps: int = 60
    """Steps of each way in each case of the arm `overhead`."""
    stages: tuple[int, ...] = (0, 1, 2)
    """ZeRO stages of the arm `overhead`."""
    precisions: tuple[str, ...] = ("fp32", "bf16")
    """Of the arm `overhead`."""

    @property
    def total_steps(self) -> int:
        """Steps that every process takes; the last one only shows where the one before ended."""
        return self.warmup + self.steps + 1

    @property
    def model(self) -> ModelConfig:
        """The shape."""
        return ModelConfig(
            layers=self.layers, heads=self.heads, width=self.width, context=self.context
        )

    @property
    def optimizer(self) -> OptimizerConfig:
        """AdamW and its learning rate: a short warm-up, then constant."""
        return OptimizerConfig(lr=self.lr, schedule="constant", warmup_steps=10)

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the shards."""
        return load_tokenizer(str(Path(self.shards) / TOKENIZER_DIR))

    def applied(self, name: str, recipe: Recipe) -> Recipe:
        """Return the recipe of an arm as this run can carry it out."""
        micro_batch = recipe.micro_batch
        if micro_batch == "own":  # the seed's recipe accumulates eight micro-batches
            own = max(1, self.global_batch // 8) if name == "hf-seed" else self.micro_batch
            micro_batch = own
        precision = self.precision or recipe.precision
        return replace(
            recipe,
            micro_batch=micro_batch,
            precision=precision,
            half_weights=recipe.half_weights and precision == "bf16",
            compile=recipe.compile and self.compile,
        )

    def rows(self) -> ShardSet:
        """Open the training rows."""
        return ShardSet.open(Path(self.shards), row_length=self.context)

    def data(self) -> ShardData:
        """Return the shards as the data of a run."""
        rows, folder = self.rows(), Path(self.shards)
        held_out = ShardSet.open(folder, VALIDATION, row_length=self.context)
        if not held_out.rows:  # of a corpus from which nothing is held out
            held_out = rows
        return ShardData(
            [Corpus("data", folder, 1.0, rows.manifest, rows, held_out)],
            self.tokenizer,
            seed=self.seed,
            row_length=self.context,
            lengths=Stages(),
            skipped=np.array([], np.int64),
        )

    def all_rows(self) -> np.ndarray:
        """Return what every arm trains on, step after step: (steps x global batch, T)."""
        numbers = self.data().order(0, self.total_steps * self.global_batch)
        return self.rows().gather(numbers)

    def write(self, path: Path) -> None:
        """Write it for the processes of the arms."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read what `write` has written."""
        table = json.loads(path.read_text("utf-8"))
        return cls(**table | {name: tuple(table[name]) for name in ("stages", "precisions")})


def make_job(options: argparse.Namespace, work: Path, *, on_gpu: bool, data: bool) -> Job:
    """Describe the run of these options; with `data`, write its rows and weights to a folder."""
    job = Job(
        shards=str(Path(options.data or work / "shards").resolve()),
        weights=str(work / "weights"),
        layers=options.layers,
        heads=options.heads,
        width=options.width,
        context=options.context,
        global_batch=options.global_batch,
        micro_batch=options.micro_batch,
        warmup=options.warmup,
        steps=options.steps,
        on_gpu=on_gpu,
        compile=options.compile == "on" or (options.compile == "auto" and on_gpu),
        precision=options.precision or ("" if on_gpu else "fp32"),
        log_every=options.log_every,
        workers=min(4, len(os.sched_getaffinity(0))),
        overhead_steps=options.overhead_steps,
        stages=tuple(options.stages),
        precisions=(options.precision,) if options.precision else ("fp32", "bf16"),
    )
    if data and not options.data:
        rows = job.total_steps * job.global_batch
        demo_shards(
            Path(job.shards), rows=rows, row_length=job.context, vocabulary=options.vocabulary
        )
    if data:
        save_weights(job)
    return job


def save_weights(job: Job) -> None:
    """Write the weights with which all arms begin; gpt2zh makes the same from its seed."""
    from transformers.utils import logging

    from gpt2zh.model.build import new_model

    logging.disable_progress_bar()
    new_model(job.model, job.tokenizer, seed=job.seed).save_pretrained(job.weights)


def data_facts(job: Job) -> dict[str, Any]:
    """Return what follows from the shape and the rows of the window."""
    from gpt2zh.model import shape

    vocabulary = shape.padded_vocabulary(job.tokenizer.vocab_size)
    rows = job.all_rows().reshape(job.total_steps, job.global_batch, job.context)
    window = rows[job.warmup : job.warmup + job.steps]
    return {
        "vocabulary": vocabulary,
        "parameters": shape.parameters(job.model, vocabulary),
        "flops_per_token": shape.flops_per_token(job.model, vocabulary),
        "tokens_per_step": float(np.count_nonzero(window != job.tokenizer.pad_id) / job.steps),
        "rows_in_data": job.rows().rows,
    }
