"""Batches: what counts in the loss, what counts as text."""

from __future__ import annotations

import numpy as np
import pytest

from gpt2zh.data.batch import batch_of
from gpt2zh.model.shape import IGNORED

PAD = 0
ROWS = np.array([[5, 6, 7, PAD], [5, PAD, PAD, PAD], [5, 6, 7, 8]], np.uint16)


def test_padding_has_no_loss_and_the_first_place_predicts_from_nothing() -> None:
    batch = batch_of(ROWS, pad_id=PAD, numbers=np.arange(3))
    assert batch.labels.tolist() == [
        [5, 6, 7, IGNORED],
        [5, IGNORED, IGNORED, IGNORED],
        [5, 6, 7, 8],
    ]
    assert batch.input_ids.tolist() == ROWS.tolist()
    assert batch.input_ids.dtype == batch.labels.dtype == np.int64
    assert batch.targets == 2 + 0 + 3
    assert batch.tokens == 3 + 1 + 4


def test_a_loss_mask_leaves_the_tokens_and_counts_only_its_targets() -> None:
    counted = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]], bool)
    batch = batch_of(ROWS, pad_id=PAD, numbers=np.arange(3), counted=counted)
    assert batch.input_ids.tolist() == ROWS.tolist() and batch.tokens == 8
    assert batch.labels.tolist() == [
        [5, IGNORED, 7, IGNORED],
        [5, IGNORED, IGNORED, IGNORED],
        [IGNORED, IGNORED, IGNORED, 8],
    ]
    assert batch.targets == 1 + 0 + 1


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_a_mask_of_all_tokens_is_no_mask(dtype: type) -> None:
    plain = batch_of(ROWS.astype(dtype), pad_id=PAD, numbers=np.arange(3))
    every = batch_of(
        ROWS.astype(dtype), pad_id=PAD, numbers=np.arange(3), counted=np.ones_like(ROWS, bool)
    )
    assert (plain.labels == every.labels).all() and plain.targets == every.targets
