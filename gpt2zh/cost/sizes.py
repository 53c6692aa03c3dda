"""What a GPT-2 costs: parameters, FLOPs per token, bytes of a checkpoint. Pure arithmetic.

`L` layers, `D` width, `T` context, `V` padded vocabulary.
"""

from __future__ import annotations

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import card_named
from gpt2zh.cost.muon import turned_elements

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


def checkpoint_bytes(model: ModelConfig, vocabulary: int, optimizer: str) -> int:
    """Bytes of a checkpoint: weights and two moments, or one of what Muon updates, all in fp32.

    Args:
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        optimizer: Its kind.
    """
    numbers = 3 * parameters(model, vocabulary)
    return 4 * (numbers - turned_elements(model) if optimizer == "muon" else numbers)


def chunk_tokens(tokens: int) -> int:
    """How many tokens of a micro-batch have logits at one time.

    The products of a chunk of 4,096 tokens fill a card; a sixteenth of a large micro-batch keeps
    the number of chunks, and with it of kernels, small.

    Args:
        tokens: Tokens of the micro-batch.
    """
    return min(tokens, max(4096, -(-tokens // 16)))


def peak_flops(device_name: str, precision: str = "bf16") -> float | None:
    """The card's peak, FLOP/s; None when unknown: no MFU beats a wrong one.

    Args:
        device_name: As the driver says it.
        precision: That of the training; in fp32 tensor cores are not asked (cost/cards.py).
    """
    card = card_named(device_name)
    return card.peak_in(precision) if card else None
