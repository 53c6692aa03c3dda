"""Move batches from numpy to page-locked memory to a device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from gpt2zh.data.batch import Batch


def as_tensors(batch: Batch[np.ndarray], device: torch.device) -> Batch[torch.Tensor]:
    """Return the batch as tensors in host memory, ready for `to_device`.

    For a GPU the memory is page-locked: only then a copy does not make the host wait.
    """
    ids, labels = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.labels)
    if device.type == "cuda":
        ids, labels = ids.pin_memory(), labels.pin_memory()
    return Batch(ids, labels, batch.targets, batch.tokens, batch.numbers)


def to_device(batch: Batch[torch.Tensor], device: torch.device) -> Batch[torch.Tensor]:
    """Return the batch on a device; the copy from page-locked memory is asynchronous."""
    if device.type == "cpu":
        return batch
    return replace(
        batch,
        input_ids=batch.input_ids.to(device, non_blocking=True),
        labels=batch.labels.to(device, non_blocking=True),
    )
