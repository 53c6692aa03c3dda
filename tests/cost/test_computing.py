"""The speed of one card: two terms, and what others measured."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.published import Published, predicted, published, shares
from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost import computing
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


@pytest.mark.parametrize("run", published(), ids=lambda run: f"{run.what} on {run.card.name}")
def test_published_runs_are_met(run: Published) -> None:
    """Within a factor of 1.5: the cards, the years and the code of these runs differ."""
    found = predicted(run)
    assert found.expected / 1.5 < run.rate < 1.5 * found.expected
    assert run.rate < 1.04 * found.best


def test_what_is_reached_is_the_middle_of_published_runs() -> None:
    reached = [computing.COMPILED * share for share in shares()]
    assert statistics.median(reached) == pytest.approx(computing.COMPILED, abs=0.05)
    assert (min(reached), max(reached)) == pytest.approx((0.49, 1.04), abs=0.005)
