"""The speed of one card: two terms."""

from __future__ import annotations

import pytest

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.cards import card_named
from gpt2zh.cost.computing import seconds_at_best

SHAPE = ModelConfig(context=512)


def test_at_best_a_token_takes_its_products_and_its_memory_traffic() -> None:
    card = card_named("RTX 3090")
    assert card is not None
    moved = 180 * 12 * 768 + 12 * 21248
    assert seconds_at_best(card, SHAPE, 21248) == pytest.approx(
        0.6641e9 / (0.9 * 71e12) + moved / 936e9, rel=1e-3
    )
    assert seconds_at_best(card, SHAPE, 21248, is_half=False) == pytest.approx(
        0.6641e9 / (0.9 * 35.6e12) + 2 * moved / 936e9, rel=1e-3
    )
