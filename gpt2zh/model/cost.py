"""What a GPT-2 costs: parameters, FLOPs per token, bytes of a checkpoint. Pure arithmetic.

`L` layers, `D` width, `T` context, `V` padded vocabulary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpt2zh.config.schema import ModelConfig

VOCABULARY_MULTIPLE = 128  # tensor cores want it; 50257 -> 50304 alone was worth 25 % on an A100

# Dense peak in FLOP/s of bf16 products summed in fp32. GeForce cards reach half of their fp16
# peak then (NVIDIA's Ampere GA102 and Ada whitepapers), and MFU against the higher one misleads.
_PEAKS = {
    "RTX 3090 Ti": 80e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165.2e12,
    "RTX 5090": 209.5e12,
    "A100": 312e12,
    "A10": 125e12,
    "L40S": 362e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "V100": 125e12,
    "T4": 65e12,
}


def padded_vocabulary(tokens: int) -> int:
    """The rows of the embedding: the next multiple of 128."""
    return -(-tokens // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def parameters(model: ModelConfig, vocabulary: int) -> int:
    """Trainable numbers; the output head shares the embedding.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
    """
    width = model.width
    block = 12 * width * width + 13 * width
    return (vocabulary + model.context) * width + model.layers * block + 2 * width


def flops_per_token(model: ModelConfig, vocabulary: int) -> float:
    """FLOPs of forward and backward per token: 6 (12 L D^2 + V D) + 12 L D T.

    The count of nanoGPT and PaLM: attention is not halved for its causal mask, and work done
    again by activation checkpointing does not count.
    """
    weights = 12 * model.layers * model.width**2 + vocabulary * model.width
    return 6.0 * weights + 12.0 * model.layers * model.width * model.context


def checkpoint_bytes(model: ModelConfig, vocabulary: int) -> int:
    """Bytes of a checkpoint: weights and two moments, each in fp32."""
    return 12 * parameters(model, vocabulary)


@dataclass(frozen=True)
class Memory:
    """Bytes that one rank needs to train, roughly."""

    states: int
    """Weights, gradients and the optimizer's state."""
    activations: int
    """What the backward pass needs of one micro-batch, logits included."""


def training_memory(
    model: ModelConfig,
    vocabulary: int,
    *,
    micro_batch: int,
    half: bool,
    zero_stage: int,
    ranks: int,
    recompute: bool,
) -> Memory:
    """Estimate the memory of a rank without offload, the allocator and DeepSpeed's buckets.

    The states are those of the ZeRO paper (arXiv 1910.02054, section 3.1). Activations are 34
    bytes of half precision per token, layer and unit of width (arXiv 2205.05198, equation 1,
    without the matrix that flash attention never makes), twice as much in fp32.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        micro_batch: Rows of a forward pass.
        half: bf16 or fp16 rather than fp32.
        zero_stage: DeepSpeed's stage.
        ranks: Processes.
        recompute: Activation checkpointing.
    """
    count = parameters(model, vocabulary)
    low = 2 if half else 4
    split = [ranks if zero_stage >= stage else 1 for stage in (3, 2, 1)]
    masters = 4 if half or zero_stage else 0
    states = count * low / split[0] + count * low / split[1] + count * (8 + masters) / split[2]
    tokens = micro_batch * model.context
    per_layer = 17 * low * model.width
    layers = per_layer + 2 * low * model.layers * model.width
    if not recompute:
        layers = per_layer * model.layers
    logits = vocabulary * (low + 8)
    return Memory(int(states), int(tokens * (layers + logits)))


def peak_flops(device_name: str) -> float | None:
    """The card's peak in FLOP/s, or None when unknown: no MFU is better than a wrong one."""
    words = set(re.split(r"[\s-]+", device_name))
    if words & {"Laptop", "D"}:  # slower cards with the name of a faster one
        return None
    for name in sorted(_PEAKS, key=len, reverse=True):
        if set(name.split()) <= words:
            return _PEAKS[name]
    return None
