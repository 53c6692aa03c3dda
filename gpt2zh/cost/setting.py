"""The settings of training that memory, traffic and speed depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gpt2zh.config import deepspeed

DEEPSPEED_BUCKET = 500_000_000
"""DeepSpeed's default of reduce_bucket_size, which it also uses without ZeRO and in BF16_Optimizer
(runtime/engine.py, MEMORY_OPT_ALLREDUCE_SIZE)."""
_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The settings that decide the cost of training, together with the shape of the model."""

    resolved: Mapping[str, Any]
    """The dict of `config.deepspeed.resolve` for these ranks."""
    ranks: int
    recompute: bool
    """Activation checkpointing."""
    compile: Literal["auto", "always", "never"]
    """`train.compile`."""
    on_gpu: bool
    """On a GPU, else on a CPU, which has no context and no FlashAttention with dropout."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    document_mask: bool = False

    @property
    def precision(self) -> str:
        """fp32, bf16 or fp16."""
        return deepspeed.precision(self.resolved)

    @property
    def is_half(self) -> bool:
        """Whether numbers of the forward pass have 16 bits."""
        return self.precision != "fp32"

    @property
    def width(self) -> int:
        """Bytes of a number of the forward pass."""
        return _BYTES[self.precision]

    @property
    def sum_width(self) -> int:
        """Bytes of a number of the gradients, as micro-batches add them up."""
        return _BYTES[deepspeed.sum_type(self.resolved)]

    @property
    def sent_width(self) -> int:
        """Bytes of a number of the gradients, as ranks send them."""
        return _BYTES[self.resolved.get("communication_data_type", self.precision)]

    @property
    def zero(self) -> Mapping[str, Any]:
        """The section `zero_optimization`."""
        table: Mapping[str, Any] = self.resolved.get("zero_optimization", {})
        return table

    @property
    def stage(self) -> int:
        """The ZeRO stage."""
        return deepspeed.zero_stage(self.resolved)

    @property
    def bucket(self) -> int:
        """Elements of gradients that ZeRO reduces at a time."""
        return int(self.zero.get("reduce_bucket_size", DEEPSPEED_BUCKET))

    @property
    def accumulation(self) -> int:
        """Micro-batches of a step."""
        return int(self.resolved["gradient_accumulation_steps"])

    @property
    def should_compile(self) -> bool:
        """Whether torch.compile should compile the model where it can."""
        return self.compile == "always" or (self.compile == "auto" and self.on_gpu)

    @property
    def is_compiled(self) -> bool:
        """Whether the model is compiled: not with ZeRO 3, which gathers weights inside it."""
        return self.should_compile and self.stage < 3

    def offloads(self, name: deepspeed.Offload) -> bool:
        """Return whether `optimizer` or `param` is in host memory."""
        return deepspeed.is_offloaded(self.resolved, name)
