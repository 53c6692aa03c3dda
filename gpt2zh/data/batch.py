"""The one type the train loop reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

IGNORED = -100  # the label of a token without loss, as torch's cross-entropy has it


@dataclass(frozen=True)
class Batch:
    """One micro-batch of one rank; B rows of T tokens."""

    input_ids: torch.Tensor  # (B, T) int64
    labels: torch.Tensor  # (B, T) int64; labels[:, t] is the token that position t - 1 predicts
    targets: int
    """Labels that count in the loss; position 0 predicts from nothing and never counts."""
    numbers: np.ndarray
    """Row numbers in the training data, int64; fewer than B where rows are cut shorter."""

    @classmethod
    def from_rows(cls, rows: np.ndarray, *, pad_id: int, numbers: np.ndarray) -> Batch:
        """Make a batch from packed rows (B, T) of any integer type; padding gets no loss."""
        ids = torch.from_numpy(rows.astype(np.int64))
        labels = ids.masked_fill(ids == pad_id, IGNORED)
        return cls(ids, labels, int((labels[:, 1:] != IGNORED).sum()), numbers)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; from pinned memory the copy does not wait."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
        )

    def pinned(self) -> Batch:
        """The same batch in page-locked memory, from which a GPU copies without waiting."""
        return replace(self, input_ids=self.input_ids.pin_memory(), labels=self.labels.pin_memory())
