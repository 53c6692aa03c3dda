"""What a training run will do: its config and data, and the numbers that follow from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt2zh.config import deepspeed
from gpt2zh.config.batch import list_micro_batches
from gpt2zh.config.cli import dump, to_plain
from gpt2zh.config.paths import IDENTITY
from gpt2zh.config.schema import LaunchOptions, TrainingConfig
from gpt2zh.data.training_data import TrainingData
from gpt2zh.model import shape
from gpt2zh.plan.setup import Setup
from gpt2zh.ranks.world import World
from gpt2zh.train.schedule import learning_rate

CONFIG = "config.yaml"
DEEPSPEED = "deepspeed.json"
RAW_DEEPSPEED = "deepspeed_config.json"
ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class RunPlan:
    """A checked run: its config and data, and the numbers that follow from them."""

    config: TrainingConfig
    options: LaunchOptions
    world: World
    raw: dict[str, Any]
    """The DeepSpeed JSON, the user's or the one that was chosen."""
    resolved: dict[str, Any]
    """The dict for DeepSpeed."""
    data: TrainingData
    resume_from: Path | None = None
    """Checkpoint to continue from; only rank 0 knows it and broadcasts it to the others."""
    done: tuple[int, int] = (0, 0)
    """Steps and rows of that checkpoint; likewise."""

    @property
    def setup(self) -> Setup:
        """How the model is trained, whatever the data."""
        tokens = self.data.tokenizer.vocab_size
        return Setup(self.config, tokens, self.world.size, self.raw, self.resolved)

    @property
    def stacks(self) -> Path:
        """Folder where ranks that hang leave their Python stacks."""
        return self.config.output / ".stacks"

    @property
    def micro_batch(self) -> int:
        """Rows per rank and forward pass."""
        return self.setup.micro_batch

    @property
    def accumulation(self) -> int:
        """Micro-batches per rank and step."""
        return self.setup.accumulation

    def with_micro_batch(self, rows: int) -> RunPlan:
        """Return the same run with another micro-batch, which must divide a rank's rows."""
        train = dataclasses.replace(self.config.train, micro_batch=rows)
        resolved = deepspeed.resolve(self.raw, train, self.config.optimizer, self.world.size)
        config = dataclasses.replace(self.config, train=train)
        return dataclasses.replace(self, config=config, resolved=resolved)

    def with_smaller_micro_batch(self) -> RunPlan | None:
        """Return the same run with half the micro-batch or less; None if it is one row already."""
        most = self.micro_batch // 2
        smaller = list_micro_batches(self.config.train, self.world.size, most=most)
        return self.with_micro_batch(smaller[-1]) if smaller else None

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step over all ranks."""
        return self.setup.tokens_per_step

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        train = self.config.train
        if train.steps is not None:
            return train.steps
        step, rows = self.done
        # Whole rows, so that no last bit decides over a step: 1.1 x 100 is 110.00000000000001.
        left = math.ceil(round(train.epochs * self.data.rows, 6)) - rows
        return max(1, step + math.ceil(max(0, left) / train.global_batch))

    @property
    def zero_stage(self) -> int:
        """DeepSpeed's ZeRO stage."""
        return self.setup.zero_stage

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding, padding included."""
        return self.setup.vocabulary

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return self.setup.parameters

    @property
    def flops_per_token(self) -> float:
        """FLOPs of forward and backward at the full context."""
        return self.setup.flops_per_token

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint and a run that continues from it must have in common."""
        return {
            "act": self.config.act,
            **self.data.identity,
            "seed": self.config.seed,
            "global_batch": self.config.train.global_batch,
            "optimizer.kind": self.config.optimizer.kind,
            **{f"model.{name}": value for name, value in asdict(self.config.model).items()},
        }

    @property
    def common_key(self) -> str:
        """A hash of what all ranks of a start are given; what each may choose is left out."""
        table = to_plain(self.config)
        del table["train"]["micro_batch"], table["deepspeed_config"]
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def epochs_at_end(self) -> Mapping[str, float]:
        """How often the whole run reads each corpus, by name."""
        step, rows = self.done
        return self.data.epochs(rows + (self.steps - step) * self.config.train.global_batch)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step; the first step is 1."""
        return learning_rate(step, steps=self.steps, config=self.config.optimizer)

    def length_at(self, step: int) -> int:
        """Return the tokens of a sequence in a step; the first step is 1."""
        return self.config.train.sequence_length_warmup.at(step, then=self.config.model.context)

    def flops_per_token_at(self, step: int) -> float:
        """Return the FLOPs of forward and backward at the sequence length of a step."""
        shorter = dataclasses.replace(self.config.model, context=self.length_at(step))
        return shape.flops_per_token(shorter, self.vocabulary)

    def texts(self) -> dict[str, str]:
        """Return the small files that describe a run, for its folder and every checkpoint.

        The config names the copy of the DeepSpeed JSON in the run folder, so that it still
        reproduces the run after the user has changed the original.
        """
        raw = self.config.output / RAW_DEEPSPEED
        return {  # in this order: a folder with a config but no identity is not ours
            IDENTITY: json.dumps(self.identity, indent=2) + "\n",
            CONFIG: dump(dataclasses.replace(self.config, deepspeed_config=raw)),
            RAW_DEEPSPEED: json.dumps(self.raw, indent=2) + "\n",
            DEEPSPEED: json.dumps(self.resolved, indent=2) + "\n",
        }
