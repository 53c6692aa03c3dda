"""How a model is trained, whatever the data: all that memory and speed depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpt2zh.config import deepspeed
from gpt2zh.config.schema import TrainingConfig
from gpt2zh.cost.memory import Memory, training_memory
from gpt2zh.cost.setting import Setting
from gpt2zh.model import shape


@dataclass(frozen=True)
class Setup:
    """A checked config on so many ranks, with nothing left open."""

    config: TrainingConfig
    """With a number as its micro-batch."""
    tokens: int
    """Tokens of the tokenizer."""
    ranks: int
    raw: Mapping[str, Any]
    """The DeepSpeed JSON, the user's or the one that was chosen."""
    resolved: Mapping[str, Any]
    """The dict for DeepSpeed."""

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding, padding included."""
        return shape.padded_vocabulary(self.tokens)

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return shape.parameters(self.config.model, self.vocabulary)

    @property
    def flops_per_token(self) -> float:
        """FLOPs of forward and backward at the full context."""
        return shape.flops_per_token(self.config.model, self.vocabulary)

    @property
    def micro_batch(self) -> int:
        """Rows per rank and forward pass."""
        return self.config.train.rows_at_once

    @property
    def accumulation(self) -> int:
        """Micro-batches per rank and step."""
        return int(self.resolved["gradient_accumulation_steps"])

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step over all ranks."""
        return self.config.train.global_batch * self.config.model.context

    @property
    def zero_stage(self) -> int:
        """DeepSpeed's ZeRO stage."""
        return deepspeed.zero_stage(self.resolved)

    def memory(self, resolved: Mapping[str, Any] | None = None) -> Memory:
        """Estimate what a rank needs on a GPU.

        Args:
            resolved: Another dict for DeepSpeed than that of this setup.
        """
        chosen = self.resolved if resolved is None else resolved
        setting = setting_of(self.config, chosen, ranks=self.ranks, on_gpu=True)
        return training_memory(
            self.config.model, self.vocabulary, setting, micro_batch=self.micro_batch
        )


def setting_of(
    config: TrainingConfig, resolved: Mapping[str, Any], *, ranks: int, on_gpu: bool
) -> Setting:
    """Return what the costs of a rank depend on.

    Args:
        config: How the model is trained.
        resolved: The dict for DeepSpeed.
        ranks: Processes.
        on_gpu: Whether they compute on GPUs.
    """
    train = config.train
    return Setting(
        resolved=resolved,
        ranks=ranks,
        recompute=train.activation_checkpointing,
        compile=train.compile,
        on_gpu=on_gpu,
        optimizer=config.optimizer.kind,
        document_mask=train.document_mask,
    )
