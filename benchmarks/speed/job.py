"""What all arms of a run share, as it is handed to their processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from gpt2zh.config.schema import ModelConfig, OptimizerConfig
from gpt2zh.data.mixture import Mixture
from gpt2zh.data.shard import ShardSet
from speed.arms import Recipe


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run: rows, weights, batch and how many steps are measured."""

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

    @property
    def total_steps(self) -> int:
        """Steps that every process takes; the last one only shows where the one before ended."""
        return self.warmup + self.steps + 1

    @property
    def seed_micro_batch(self) -> int:
        """Rows of a forward pass of the seed's recipe, which accumulates eight of them."""
        return max(1, self.global_batch // 8)

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

    def applied(self, name: str, recipe: Recipe) -> Recipe:
        """The recipe of an arm as this run can carry it out."""
        micro_batch = recipe.micro_batch
        if micro_batch == "own":
            micro_batch = self.seed_micro_batch if name == "hf-seed" else self.micro_batch
        precision = self.precision or recipe.precision
        return replace(
            recipe,
            micro_batch=micro_batch,
            precision=precision,
            half_weights=recipe.half_weights and precision == "bf16",
            compile=recipe.compile and self.compile,
        )

    def rows(self) -> ShardSet:
        """The training rows."""
        return ShardSet.open(Path(self.shards), row_length=self.context)

    def order(self, rows: ShardSet) -> Mixture:
        """The walk through them."""
        return Mixture([rows.rows], shares=[1.0], seed=self.seed)

    def all_rows(self) -> np.ndarray:
        """What every arm trains on, step after step, (steps x global batch, T)."""
        rows = self.rows()
        return rows.gather(self.order(rows).at(0, self.total_steps * self.global_batch))

    def write(self, path: Path) -> None:
        """Write it for the processes of the arms."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """What `write` wrote."""
        return cls(**json.loads(path.read_text("utf-8")))
