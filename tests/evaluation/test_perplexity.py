"""Scores: sums first, divisions last, also over corpora."""

from __future__ import annotations

import math

import pytest

from gpt2zh.evaluation.perplexity import Score, joined


def test_a_score_divides_once() -> None:
    score = Score(nats=40.0, targets=12, tokens=30, characters=20)
    assert score.loss == pytest.approx(40 / 12)
    assert score.perplexity == pytest.approx(math.exp(40 / 12))
    assert score.bits_per_character == pytest.approx(40 / 12 * 30 / 20 / math.log(2))


def test_corpora_are_joined_by_their_sums() -> None:
    news, poetry = Score(30.0, 10, 100, 50), Score(2.0, 2, 20, 30)
    both = joined([news, poetry])
    assert both == Score(32.0, 12, 120, 80)
    assert both.loss == pytest.approx((news.loss * 10 + poetry.loss * 2) / 12)
    assert both.bits_per_character == pytest.approx(32 / 12 * 120 / 80 / math.log(2))
    assert joined([news]) == news


def test_text_without_a_single_prediction_has_no_loss() -> None:
    nothing = Score(0.0, 0, 1, 1)
    assert math.isnan(nothing.loss) and math.isnan(nothing.bits_per_character)
