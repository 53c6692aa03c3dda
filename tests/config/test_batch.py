"""How global batches are cut among ranks and micro-batches."""

from __future__ import annotations

import pytest

from gpt2zh.config.batch import count_accumulation_steps, list_micro_batches
from gpt2zh.config.schema import TrainConfig


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_micro_batches_cut_the_rows_of_a_rank(ranks: int) -> None:
    def train(micro: int) -> TrainConfig:
        return TrainConfig(global_batch=24 * ranks, micro_batch=micro)

    assert list_micro_batches(train(1), ranks, most=99) == [1, 2, 3, 4, 6, 8, 12, 24]
    assert list_micro_batches(train(1), ranks, most=7) == [1, 2, 3, 4, 6]
    for micro in list_micro_batches(train(1), ranks, most=99):
        assert count_accumulation_steps(train(micro), ranks) == 24 // micro
