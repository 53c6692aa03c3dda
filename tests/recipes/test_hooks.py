"""What the hooks decide by themselves; the rest runs in tests/launcher and tests/train."""

from __future__ import annotations

import math

import pytest

from gpt2zh.recipes.hooks import first_loss_warning


@pytest.mark.parametrize("vocabulary", [2_048, 21_248, 32_000])
@pytest.mark.parametrize("share", [0.91, 1.0, 1.09])
def test_a_first_loss_near_ln_of_the_vocabulary_is_fine(vocabulary: int, share: float) -> None:
    assert first_loss_warning(share * math.log(vocabulary), vocabulary) is None


@pytest.mark.parametrize("loss", [2.0, 9.2, 11.6, math.inf, math.nan])
def test_a_first_loss_far_from_it_is_told_with_both_numbers(loss: float) -> None:
    told = first_loss_warning(loss, 32_000)
    assert told is not None
    assert f"first loss is {loss:.2f}" in told and "ln(32000) = 10.37" in told
    assert "check the data and its tokenizer" in told
