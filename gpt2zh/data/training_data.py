"""The protocol of training data: an order of numbered rows, batches, held-out text.

A new kind of training implements it. An implementation does not know about ranks, DeepSpeed or the
progress of the run, and must not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gpt2zh.data.batch import Batch
from gpt2zh.text.tokenizer import TextTokenizer


class HeldOut(Protocol):
    """Text for validation, which is not trained on."""

    @property
    def name(self) -> str:
        """Name of the corpus."""
        ...

    @property
    def rows(self) -> int:
        """Number of rows."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens of the text, end-of-document tokens included."""
        ...

    @property
    def characters(self) -> int:
        """Characters of the text."""
        ...

    def make_batch(self, numbers: np.ndarray) -> Batch[np.ndarray]:
        """Return the rows with these numbers, (n,), as a batch."""
        ...


class TrainingData(Protocol):
    """The data of a run."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer that made the rows."""
        ...

    @property
    def document_start_id(self) -> int:
        """Token before every document; generation begins with it."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values by name, such as fingerprints, that must be equal for a run to continue."""
        ...

    @property
    def rows(self) -> int:
        """Training rows."""
        ...

    @property
    def skipped_rows(self) -> int:
        """Training rows that are read without loss (`skip_rows`)."""
        ...

    @property
    def held_out(self) -> Sequence[HeldOut]:
        """Text for validation; empty if there is none."""
        ...

    def order(self, position: int, count: int) -> np.ndarray:
        """Return the row numbers of `count` positions from `position` on, (count,)."""
        ...

    def make_batch(self, numbers: np.ndarray, step: int) -> Batch[np.ndarray]:
        """Return rows as the batch of a step.

        Args:
            numbers: Row numbers, (n,).
            step: Number of the step, from 1; early steps may use shorter sequences.
        """
        ...

    def epochs(self, rows: int) -> Mapping[str, float]:
        """Return how often each corpus was read, by name, after `rows` rows."""
        ...

    def describe(self) -> Sequence[str]:
        """Return one line per corpus, in the order of `epochs`; the plan prints them, if any."""
        ...

    def describe_row(self, number: int) -> Mapping[str, Any]:
        """Return the source and the text of a row, as JSON values."""
        ...
