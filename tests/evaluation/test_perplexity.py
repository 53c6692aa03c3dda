"""Scores: sums first, divisions last, also over corpora."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.data.batch import Batch, batch_of
from gpt2zh.data.tensors import as_tensors
from gpt2zh.evaluation.perplexity import Score, combine_scores, evaluate
from gpt2zh.model.loss import SummedLoss


def test_a_score_divides_once() -> None:
    score = Score(nats=40.0, targets=12, tokens=30, characters=20)
    assert score.loss == pytest.approx(40 / 12)
    assert score.perplexity == pytest.approx(math.exp(40 / 12))
    assert score.bits_per_character == pytest.approx(40 / 12 * 30 / 20 / math.log(2))


def test_corpora_are_combined_by_their_sums() -> None:
    news, poetry = Score(30.0, 10, 100, 50), Score(2.0, 2, 20, 30)
    both = combine_scores([news, poetry])
    assert both == Score(32.0, 12, 120, 80)
    assert both.loss == pytest.approx((news.loss * 10 + poetry.loss * 2) / 12)
    assert both.bits_per_character == pytest.approx(32 / 12 * 120 / 80 / math.log(2))
    assert combine_scores([news]) == news


def test_text_without_a_single_prediction_has_no_loss() -> None:
    nothing = Score(0.0, 0, 1, 1)
    assert math.isnan(nothing.loss) and math.isnan(nothing.bits_per_character)


def batches() -> list[Batch[torch.Tensor]]:
    rows = np.random.default_rng(0).integers(1, 50, (4, 8))
    rows[3, 5:] = 0  # padding
    made = [batch_of(rows[i : i + 2], pad_id=0, numbers=np.arange(i, i + 2)) for i in (0, 2)]
    return [as_tensors(batch, torch.device("cpu")) for batch in made]


@pytest.fixture
def model() -> SummedLoss:
    torch.manual_seed(1)
    shape = GPT2Config(vocab_size=50, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    return SummedLoss(GPT2LMHeadModel(shape)).eval()


def test_a_process_on_its_own_scores_without_a_process_group(model: SummedLoss) -> None:
    assert not torch.distributed.is_initialized()
    score = evaluate(model, batches(), device=torch.device("cpu"), tokens=30, characters=40)
    assert (score.targets, score.tokens, score.characters) == (7 * 3 + 4, 30, 40)
    expected = sum(model(batch.input_ids, batch.labels).item() for batch in batches())
    assert score.nats == pytest.approx(expected, rel=1e-6)


def test_the_reducer_adds_up_over_ranks_once(model: SummedLoss) -> None:
    """Two ranks with a batch each, one after the other, score what one process scores."""
    sums: list[torch.Tensor] = []

    def two_ranks(mine: torch.Tensor) -> torch.Tensor:
        sums.append(mine)
        return torch.stack(sums).sum(dim=0)

    settings = {"device": torch.device("cpu"), "tokens": 30, "characters": 40}
    whole = evaluate(model, batches(), **settings)
    first, second = (evaluate(model, [batch], reduce=two_ranks, **settings) for batch in batches())
    assert len(sums) == 2
    assert second.targets == whole.targets > first.targets
    assert second == replace(whole, nats=pytest.approx(whole.nats))
