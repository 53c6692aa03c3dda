"""How fast a card trains by itself: a model of two terms, not a measurement.

The time of a token is that of its matrix products at 90 percent of the card's peak plus that of
moving its activations through memory once, one after the other:

    seconds = F / (0.9 peak) + bytes / bandwidth

F is `shape.flops_per_token`. The bytes are counted from the operations of compiled blocks and of
a chunked loss. Gaps between kernels, clocks that fall with heat and small products come off it; a
card that clocks above its data sheet may be a little faster. What share is left is taken from runs
that others published: `benchmarks/published.py` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import Card
from gpt2zh.model import shape

PRODUCTS = 0.9
"""Of a card's peak that large matrix products reach."""
COMPILED = 0.70
"""Of the speed that the two terms leave, what is reached with torch.compile or kernels by hand:
published runs have 0.49 to 1.04, the median is 0.73."""
EAGER = 0.40
"""The same without: that of a published run in fp32. The ratio to the other lies between what
torch.compile gains a Llama, 1.16 (torchtitan, benchmarks), and a GPT-2, 1.85 (nanoGPT, README)."""
_BLOCK, _LOGIT = 180, 12
"""Bytes of a token in half precision that pass through memory: for each layer and unit of its
width, and for each row of the embedding."""


@dataclass(frozen=True)
class Speed:
    """Tokens per second of a card."""

    best: float
    """That the two terms leave."""
    expected: float
    """The share of it that others reached."""


def speed(
    card: Card, model: ModelConfig, vocabulary: int, *, is_compiled: bool, is_half: bool = True
) -> Speed:
    """Predict how fast a card trains by itself, without the update of the weights.

    Args:
        card: What computes.
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        is_compiled: By torch.compile.
        is_half: In half precision, else in fp32.
    """
    best = 1 / seconds_at_best(card, model, vocabulary, is_half=is_half)
    return Speed(best, expected=best * (COMPILED if is_compiled else EAGER))


def seconds_at_best(
    card: Card, model: ModelConfig, vocabulary: int, *, is_half: bool = True
) -> float:
    """The two terms: what forward and backward of a token take.

    Args:
        card: What computes.
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        is_half: In half precision, else in fp32.
    """
    peak = card.peak_in("bf16" if is_half else "fp32")
    moved = (1 if is_half else 2) * (_BLOCK * model.layers * model.width + _LOGIT * vocabulary)
    flops = shape.flops_per_token(model, vocabulary)
    return flops / (PRODUCTS * peak) + moved / card.memory_rate
