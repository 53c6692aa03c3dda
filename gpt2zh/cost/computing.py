"""Predict the training speed of one card: a model of two terms, not a measurement.

The time of a token is the time of its matrix products at 90 percent of the card's peak, plus the
time of moving its activations through memory once:

    seconds = F / (0.9 peak) + bytes / bandwidth

F is `shape.flops_per_token`. The bytes are counted from the operations of compiled blocks and of a
chunked loss. Real cards are usually slower: they lose time in gaps between kernels, in small
products, and when they get hot; a card that clocks above its data sheet may be faster. The fraction
that they reach is fitted to published runs, which `benchmarks/published.py` lists. One fraction of
the peak for all cards would be that of data centre cards, which wait longer for their memory than
GeForce cards do.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import Card
from gpt2zh.model import shape

PRODUCTS = 0.9
"""Fraction of a card's peak that large matrix products reach."""
COMPILED = 0.70
"""Fraction of the speed of the two terms that is reached with torch.compile or hand-written
kernels: published runs have 0.49 to 1.04, the median is 0.73."""
EAGER = 0.40
"""The same without them, from a published run in fp32. The ratio to `COMPILED` is between the gain
of torch.compile for a Llama, 1.16 (torchtitan, benchmarks), and a GPT-2, 1.85 (nanoGPT, README)."""
_BLOCK, _LOGIT = 180, 12
"""Bytes of a token in half precision that pass through memory: per layer and unit of width, and per
row of the embedding."""


@dataclass(frozen=True)
class Speed:
    """Tokens per second of a card."""

    best: float
    """The speed of the two terms alone."""
    expected: float
    """The fraction of it that published runs reached."""


def speed(
    card: Card, model: ModelConfig, vocabulary: int, *, is_compiled: bool, is_half: bool = True
) -> Speed:
    """Predict how fast one card trains, without the update of the weights.

    Args:
        card: The GPU.
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        is_compiled: Whether torch.compile is used.
        is_half: Whether it trains in half precision, else in fp32.
    """
    best = 1 / seconds_at_best(card, model, vocabulary, is_half=is_half)
    return Speed(best, expected=best * (COMPILED if is_compiled else EAGER))


def seconds_at_best(
    card: Card, model: ModelConfig, vocabulary: int, *, is_half: bool = True
) -> float:
    """Return the two terms: the seconds of a token's forward and backward pass.

    Args:
        card: The GPU.
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        is_half: Whether it trains in half precision, else in fp32.
    """
    peak = card.peak_in("bf16" if is_half else "fp32")
    moved = (1 if is_half else 2) * (_BLOCK * model.layers * model.width + _LOGIT * vocabulary)
    flops = shape.flops_per_token(model, vocabulary)
    return flops / (PRODUCTS * peak) + moved / card.memory_rate
