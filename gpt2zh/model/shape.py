"""What follows from the shape of a GPT-2: parameters, FLOPs, portions. Pure arithmetic, no torch.

`L` layers, `D` width, `T` context, `V` padded vocabulary.
"""

from __future__ import annotations

import re

from gpt2zh.config.schema import ModelConfig

IGNORED = -100
"""Label of a position that has no loss; the `ignore_index` of torch and transformers."""
VOCABULARY_MULTIPLE = 128  # tensor cores want it; 50257 -> 50304 alone was worth 25 % on an A100


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


def chunk_tokens(tokens: int) -> int:
    """How many tokens of a micro-batch have logits at one time.

    The products of a chunk of 4,096 tokens fill a card; a sixteenth of a large micro-batch keeps
    the number of chunks, and with it of kernels, small.

    Args:
        tokens: Tokens of the micro-batch.
    """
    return min(tokens, max(4096, -(-tokens // 16)))


ROUNDS = 5
"""Of the polynomial that moves all singular values close to 1 (Jordan)."""
AT_ONCE = 2**24
"""Elements that are turned together: enough to fill a GPU, little beside the model."""

_HIDDEN = re.compile(r"\bh\.\d+\.(?:attn\.(c_attn|c_proj)|mlp\.(?:c_fc|c_proj))\.weight$")


def matrices_in(name: str) -> int:
    """How many matrices for Muon lie side by side in a parameter of a GPT-2; 0 if it is AdamW's."""
    found = _HIDDEN.search(name)
    if found is None:
        return 0
    return 3 if found[1] == "c_attn" else 1


def turned_elements(model: ModelConfig) -> int:
    """Numbers in all the matrices that Muon updates."""
    return 12 * model.layers * model.width**2


def bytes_at_once(elements: int, *, sides: int) -> float:
    """What it takes to turn so many elements of matrices of one shape, in fp32 throughout.

    `train.muon.orthogonal` holds a copy of them, the old and the new step of the iteration, and two
    products of a matrix with its own transpose.

    Args:
        elements: In all these matrices.
        sides: The longer side in units of the shorter one.
    """
    return 4 * (1 + 2 + 2 / sides) * min(AT_ONCE, elements)
