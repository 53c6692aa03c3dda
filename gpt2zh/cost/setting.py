"""How a model is trained, as far as memory, traffic and speed mind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gpt2zh.config import deepspeed

DEEPSPEED_BUCKET = 500_000_000
"""DeepSpeed's default of reduce_bucket_size, and what it takes without ZeRO and in BF16_Optimizer
(runtime/engine.py, MEMORY_OPT_ALLREDUCE_SIZE)."""
_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What decides about the costs of training, beside the shape of the model."""

    resolved: Mapping[str, Any]
    """The dict of `config.deepspeed.resolve`, for as many ranks."""
    ranks: int
    recompute: bool
    """Activation checkpointing."""
    compile: Literal["auto", "always", "never"]
    """`train.compile`."""
    on_gpu: bool
    """Rather than on a CPU, where no context is needed, and FlashAttention has no dropout."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    document_mask: bool = False

    @property
    def precision(self) -> str:
        """fp32, bf16 or fp16."""
        return deepspeed.precision(self.resolved)

    @property
    def is_half(self) -> bool:
        """Whether a number of the forward pass has 16 bits."""
        return self.precision != "fp32"

    @property
    def width(self) -> int:
        """Bytes of a number of the forward pass."""
        return _BYTES[self.precision]

    @property
    def sum_width(self) -> int:
        """Bytes of a number of the gradients that micro-batches add up."""
        return _BYTES[deepspeed.sum_type(self.resolved)]

    @property
    def sent_width(self) -> int:
        """Bytes of a number of the gradients that ranks send."""
        return _BYTES[self.resolved.get("communication_data_type", self.precision)]

    @property
    def zero(self) -> Mapping[str, Any]:
        """The table `zero_optimization`."""
        table: Mapping[str, Any] = self.resolved.get("zero_optimization", {})
        return table

    @property
    def stage(self) -> int:
        """ZeRO's."""
        return deepspeed.zero_stage(self.resolved)

    @property
    def bucket(self) -> int:
        """Gradients that ZeRO reduces at a time."""
        return int(self.zero.get("reduce_bucket_size", DEEPSPEED_BUCKET))

    @property
    def accumulation(self) -> int:
        """Micro-batches of a step."""
        return int(self.resolved["gradient_accumulation_steps"])

    @property
    def should_compile(self) -> bool:
        """Whether torch.compile shall make one graph of the model where it can."""
        return self.compile == "always" or (self.compile == "auto" and self.on_gpu)

    @property
    def is_compiled(self) -> bool:
        """Whether it does: ZeRO 3 gathers weights amid the model."""
        return self.should_compile and self.stage < 3

    def offloads(self, name: deepspeed.Offload) -> bool:
        """Whether `optimizer` or `param` lives in host memory."""
        return deepspeed.is_offloaded(self.resolved, name)
