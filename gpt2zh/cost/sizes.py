"""What a GPT-2 costs: parameters, FLOPs per token, bytes of a checkpoint. Pure arithmetic.

`L` layers, `D` width, `T` context, `V` padded vocabulary.
"""

from __future__ import annotations

import re

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


def chunk_tokens(tokens: int) -> int:
    """How many tokens of a micro-batch have logits at one time.

    The products of a chunk of 4,096 tokens fill a card; a sixteenth of a large micro-batch keeps
    the number of chunks, and with it of kernels, small.

    Args:
        tokens: Tokens of the micro-batch.
    """
    return min(tokens, max(4096, -(-tokens // 16)))


def peak_flops(device_name: str) -> float | None:
    """The card's peak in FLOP/s, or None when unknown: no MFU is better than a wrong one."""
    words = set(re.split(r"[\s-]+", device_name))
    if words & {"Laptop", "D"}:  # slower cards with the name of a faster one
        return None
    for name in sorted(_PEAKS, key=len, reverse=True):
        if set(name.split()) <= words:
            return _PEAKS[name]
    return None
