"""How a model is trained, as far as memory minds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gpt2zh.config.deepspeed import zero_stage


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What decides about memory, beside the shape of the model and the micro-batch."""

    precision: str
    """fp32, bf16 or fp16."""
    zero: Mapping[str, Any]
    """The table `zero_optimization` of a resolved DeepSpeed JSON."""
    ranks: int
    recompute: bool
    """Activation checkpointing."""
    compiled: bool
    """Whether torch.compile makes one graph of the model."""
    on_gpu: bool
    """Rather than on a CPU, where no context is needed, and FlashAttention has no dropout."""
    accumulation: int = 2
    """Micro-batches of a step. While the second is computed there are gradients of the first."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    document_mask: bool = False

    @property
    def half(self) -> bool:
        """Whether a number of the forward pass has 16 bits."""
        return self.precision != "fp32"

    @property
    def width(self) -> int:
        """Bytes of a number of the forward pass."""
        return 2 if self.half else 4

    @property
    def stage(self) -> int:
        """ZeRO's."""
        return zero_stage({"zero_optimization": dict(self.zero)})

    def offloads(self, what: str) -> bool:
        """Whether `optimizer` or `param` lives in host memory."""
        table = self.zero.get(f"offload_{what}") or {}
        return bool(table.get("device", "none") != "none")
