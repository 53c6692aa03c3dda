"""A batch: tokens, the labels that count in the loss, and where they come from.

The data makes batches of numpy arrays, without torch; `data.tensors` turns them into tensors.
Shapes: `B` rows of `T` tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from gpt2zh.config.errors import UserError
from gpt2zh.model.shape import IGNORED

Array = TypeVar("Array")
"""numpy.ndarray where batches are made, torch.Tensor where they are computed."""


@dataclass(frozen=True)
class Batch(Generic[Array]):
    """One micro-batch of one rank."""

    input_ids: Array  # (B, T) int64
    labels: Array  # (B, T) int64; labels[:, t] is the token that position t - 1 predicts
    targets: int
    """Labels that count in the loss; position 0 has no position before it and never counts."""
    tokens: int
    """Tokens of text: all except padding."""
    numbers: np.ndarray
    """Row numbers in the training data, int64; fewer than B if rows are cut into shorter ones."""


def check_ids(rows: np.ndarray, vocabulary: int, what: str) -> None:
    """Check that a model has an embedding for every id; a GPU would only fail later, for all ranks.

    Args:
        rows: Token ids of any integer type, (B, T).
        vocabulary: Tokens of the tokenizer.
        what: The rows, for the message.

    Raises:
        UserError: An id is not below `vocabulary`.
    """
    if rows.size and (largest := int(rows.max())) >= vocabulary:
        raise UserError(
            f"{what} hold the id {largest}, but the tokenizer has only {vocabulary} tokens (ids 0 "
            f"to {vocabulary - 1}): the shards are damaged or of another tokenizer; run `python -m "
            "data_tools verify` on them, then copy or prepare them again"
        )


def batch_of(
    rows: np.ndarray, *, pad_id: int, numbers: np.ndarray, counted: np.ndarray | None = None
) -> Batch[np.ndarray]:
    """Make a batch of packed rows.

    Args:
        rows: Token ids of any integer type, (B, T).
        pad_id: Id of padding, which has no loss and does not count as text.
        numbers: Row numbers in the training data.
        counted: Which tokens count in the loss, (B, T) bool; None counts all except padding.
    """
    ids = rows.astype(np.int64)
    is_padding = ids == pad_id
    ignored = is_padding if counted is None else is_padding | ~counted
    labels = np.where(ignored, IGNORED, ids)
    return Batch(
        input_ids=ids,
        labels=labels,
        targets=int(np.count_nonzero(labels[:, 1:] != IGNORED)),
        tokens=ids.size - int(np.count_nonzero(is_padding)),
        numbers=numbers,
    )
