"""What a card should reach at most, from two numbers on its data sheet. No measurement.

The time of a token is that of its matrix products at 90 percent of the card's peak plus that of
moving its activations through memory once, one after the other:

    seconds = F / (0.9 peak) + bytes / bandwidth

F is `sizes.flops_per_token`. The bytes of a token are counted from the operations of a block and of
the head, L layers, D width, V vocabulary: compiled, with a chunked loss 180 L D + 12 V; eagerly,
with gelu_new and fp32 logits 430 L D + 30 V. Gaps between kernels, clocks that fall with heat, and
small products come off it: it is a ceiling, not a forecast.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import card_named
from gpt2zh.cost.sizes import flops_per_token

EFFICIENCY = 0.9


@dataclass(frozen=True)
class Prediction:
    """The ceiling of one card."""

    card: str
    tokens_per_second: float
    mfu: float


def ceiling(card: str, model: ModelConfig, vocabulary: int, *, is_eager: bool) -> Prediction:
    """The rate that the two terms leave.

    Args:
        card: A name that `cost.cards` knows.
        model: The shape.
        vocabulary: Rows of the embedding, padded.
        is_eager: As the seed's recipe rather than compiled; its attention is left out of it.
    """
    known = card_named(card)
    assert known is not None, card
    flops = flops_per_token(model, vocabulary)
    per_layer, per_logit = (430, 30) if is_eager else (180, 12)
    moved = per_layer * model.layers * model.width + per_logit * vocabulary
    rate = 1 / (flops / (EFFICIENCY * known.peak) + moved / known.memory_rate)
    return Prediction(card, rate, rate * flops / known.peak)
