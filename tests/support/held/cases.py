"""A setting whose memory is measured. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gpt2zh.config.deepspeed import resolve
from gpt2zh.config.schema import ModelConfig, OptimizerConfig, TrainConfig
from gpt2zh.cost.setting import Setting

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Case:
    """A model and the options of its training."""

    name: str
    model: ModelConfig
    zero: dict[str, Any]
    precision: Precision = "fp32"
    micro_batch: int = 1
    accumulation: int = 1
    recompute: bool = False
    compiled: bool = False
    document_mask: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    sums: str = "auto"
    """The JSON's `data_types.grad_accum_dtype`."""

    def resolved(self, ranks: int) -> dict[str, Any]:
        """Return the DeepSpeed table that a run makes of these options."""
        train = TrainConfig(
            micro_batch=self.micro_batch,
            global_batch=self.micro_batch * self.accumulation * ranks,
            precision=self.precision,
        )
        raw = {
            "zero_optimization": self.zero,
            "data_types": {"grad_accum_dtype": self.sums},
            "fp16": {"initial_scale_power": 4},  # so that no first step overflows
        }
        return resolve(raw, train, OptimizerConfig(kind=self.optimizer), ranks)

    def setting(self, ranks: int, *, on_gpu: bool) -> Setting:
        """Return the options that decide how much memory it takes."""
        return Setting(
            resolved=self.resolved(ranks),
            ranks=ranks,
            recompute=self.recompute,
            compile="always" if self.compiled else "never",
            on_gpu=on_gpu,
            optimizer=self.optimizer,
            document_mask=self.document_mask,
        )
