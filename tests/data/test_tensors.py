"""Batches as tensors hold the numbers of the batches as arrays."""

from __future__ import annotations

import numpy as np
import torch

from gpt2zh.data.batch import batch_of
from gpt2zh.data.tensors import as_tensors, to_device

CPU = torch.device("cpu")


def test_a_batch_of_tensors_is_the_batch_of_arrays() -> None:
    rows = np.array([[5, 6, 0, 0], [7, 8, 9, 5]], np.uint16)
    batch = batch_of(rows, pad_id=0, numbers=np.array([30, 31]))
    tensors = as_tensors(batch, CPU)
    assert tensors.input_ids.dtype == tensors.labels.dtype == torch.int64
    assert tensors.input_ids.tolist() == batch.input_ids.tolist()
    assert tensors.labels.tolist() == batch.labels.tolist()
    assert (tensors.targets, tensors.tokens) == (batch.targets, batch.tokens) == (4, 6)
    assert tensors.numbers.tolist() == [30, 31]


def test_on_a_cpu_nothing_is_copied() -> None:
    batch = as_tensors(batch_of(np.ones((1, 3), np.int64), pad_id=0, numbers=np.arange(1)), CPU)
    assert to_device(batch, CPU) is batch
