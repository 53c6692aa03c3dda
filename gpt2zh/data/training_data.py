"""What a run trains on, as the run sees it: an order of numbered rows, batches, held-out text.

A new kind of training brings its own data of this form. It knows nothing of ranks, of DeepSpeed or
of how far the run is, and it answers before torch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gpt2zh.data.batch import Batch
from gpt2zh.text.tokenizer import TextTokenizer


class HeldOut(Protocol):
    """Text that is not trained on, for validation."""

    @property
    def name(self) -> str:
        """Name of the corpus."""
        ...

    @property
    def rows(self) -> int:
        """Rows of the split."""
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
        """Return the rows of these numbers, (n,), as a batch."""
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
        """What must be equal for a run to continue, such as fingerprints; JSON values by name."""
        ...

    @property
    def rows(self) -> int:
        """Training rows."""
        ...

    @property
    def skipped_rows(self) -> int:
        """Training rows that are read without loss, as `skip_rows` asks."""
        ...

    @property
    def held_out(self) -> Sequence[HeldOut]:
        """Text for validation; empty if there is none."""
        ...

    def order(self, position: int, count: int) -> np.ndarray:
        """Return the row numbers of `count` places of the walk from `position` on, (count,)."""
        ...

    def make_batch(self, numbers: np.ndarray, step: int) -> Batch[np.ndarray]:
        """Return rows as the batch of a step.

        Args:
            numbers: Row numbers, (n,).
            step: Number of the step, from 1; early steps may use shorter sequences.
        """
        ...

    def epochs(self, rows: int) -> Mapping[str, float]:
        """Return how often each corpus was read, by name, once so many rows are consumed."""
        ...

    def describe(self) -> Sequence[str]:
        """Return what the plan prints about the data, one line each."""
        ...

    def describe_row(self, number: int) -> Mapping[str, Any]:
        """Return where a row comes from and its text, as JSON values."""
        ...
