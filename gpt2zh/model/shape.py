"""Numbers that follow from the shape of a GPT-2: parameters, FLOPs, sizes. No torch.

`L` layers, `D` width, `T` context, `V` padded vocabulary.
"""

from __future__ import annotations

import re

from gpt2zh.config.schema import ModelConfig

IGNORED = -100
"""Label of a position that has no loss; the `ignore_index` of torch and transformers."""
VOCABULARY_MULTIPLE = 128
"""Tensor cores need it: 50257 -> 50304 rows alone gained 25 % on an A100 (nanoGPT)."""


def padded_vocabulary(tokens: int) -> int:
    """Return the rows of the embedding: the next multiple of 128."""
    return -(-tokens // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def parameters(model: ModelConfig, vocabulary: int) -> int:
    """Return the number of parameters; the output head shares the embedding.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
    """
    width = model.width
    block = 12 * width * width + 13 * width
    return (vocabulary + model.context) * width + model.layers * block + 2 * width


def flops_per_token(model: ModelConfig, vocabulary: int) -> float:
    """Return the FLOPs of forward and backward pass per token: 6 (12 L D^2 + V D) + 12 L D T.

    This is the count of nanoGPT and PaLM: attention is not halved for its causal mask, and
    recomputation by activation checkpointing does not count.
    """
    weights = 12 * model.layers * model.width**2 + vocabulary * model.width
    return 6.0 * weights + 12.0 * model.layers * model.width * model.context


def chunk_tokens(tokens: int) -> int:
    """Return how many tokens of a micro-batch have logits at one time.

    A chunk of 4,096 tokens is enough to fill a GPU. With large micro-batches, a sixteenth of them
    keeps the number of chunks and kernels small.

    Args:
        tokens: Tokens of the micro-batch.
    """
    return min(tokens, max(4096, -(-tokens // 16)))


ROUNDS = 5
"""Muon's iterations of the polynomial that moves all singular values close to 1 (Jordan)."""
AT_ONCE = 2**24
"""Elements that Muon orthogonalizes together: enough to fill a GPU, little next to the model."""

_HIDDEN = re.compile(r"\bh\.\d+\.(?:attn\.(c_attn|c_proj)|mlp\.(?:c_fc|c_proj))\.weight$")


def matrices_in(name: str) -> int:
    """Return how many matrices for Muon are side by side in a parameter; 0 if AdamW updates it."""
    found = _HIDDEN.search(name)
    if found is None:
        return 0
    return 3 if found[1] == "c_attn" else 1


def count_muon_elements(model: ModelConfig) -> int:
    """Return the elements of all matrices that Muon updates."""
    return 12 * model.layers * model.width**2


def orthogonalize_bytes(elements: int, *, sides: int) -> float:
    """Return the bytes that orthogonalizing matrices of one shape needs, in fp32.

    train/muon.py holds a copy of the matrices, the old and the new step of the iteration, and two
    products of a matrix with its own transpose.

    Args:
        elements: Elements of all these matrices.
        sides: Ratio of the longer side to the shorter one.
    """
    return 4 * (1 + 2 + 2 / sides) * min(AT_ONCE, elements)
