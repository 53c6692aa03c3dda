"""Documents to rows of one length, as pure arithmetic on token ids.

Two rules: `FullPacker` lets documents follow one another and loses nothing; `ZeroNlpPacker`
repeats what the zero_nlp project did, for comparison. Both take documents in portions and carry
over what does not fill a row yet, so a corpus of any size streams through.

Shapes: `T` tokens of a row, `n` documents, `t` tokens of a portion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

SMALLEST_ROW = 8
"""Tokens; below this a row holds little but its own ends."""


class Packer(Protocol):
    """What turns documents into rows, and counts what it does with them."""

    padding: int
    dropped_tokens: int
    dropped_documents: int

    def add(self, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Take documents and return the rows that became full, (rows, T).

        Args:
            ids: (t,), the documents one after the other, each with the token that closes it.
            counts: (n,), tokens of each.
        """
        ...

    def finish(self) -> np.ndarray:
        """Return what is left, (0 or 1, T)."""
        ...


class FullPacker:
    """Documents follow one another and are cut where a row ends; the next row goes on with it."""

    def __init__(self, row_length: int, *, pad_id: int, dtype: np.dtype) -> None:
        self._row_length = row_length
        self._pad_id = pad_id
        self._rest = np.empty(0, dtype)
        self.padding = 0
        self.dropped_tokens = 0
        self.dropped_documents = 0

    def add(self, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Take documents and return the rows that became full, (rows, T)."""
        flat = np.concatenate([self._rest, ids]) if len(self._rest) else ids
        full = len(flat) - len(flat) % self._row_length
        self._rest = flat[full:].copy()  # a view would keep all of `flat` alive
        return flat[:full].reshape(-1, self._row_length)

    def finish(self) -> np.ndarray:
        """Return the last row, padded, if any tokens are left, (0 or 1, T)."""
        rest, self._rest = self._rest, self._rest[:0]
        if not len(rest):
            return rest.reshape(0, self._row_length)
        self.padding = self._row_length - len(rest)
        row = np.full((1, self._row_length), self._pad_id, rest.dtype)
        row[0, : len(rest)] = rest
        return row


class ZeroNlpPacker:
    """Whole chunks of [CLS] T-2 tokens [SEP] of each document; tails and short ones are dropped."""

    def __init__(self, row_length: int, *, cls_id: int, sep_id: int, dtype: np.dtype) -> None:
        self._row_length = row_length
        self._cls_id = cls_id
        self._sep_id = sep_id
        self._dtype = dtype
        self.padding = 0
        self.dropped_tokens = 0
        self.dropped_documents = 0

    def add(self, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Take documents and return their whole chunks, (rows, T)."""
        inner = self._row_length - 2
        begins = np.cumsum(counts) - counts  # (n,)
        chunks = counts // inner  # (n,)
        # Of the r-th row of all: the document it is cut from, and its place among that one's.
        owner = np.repeat(np.arange(len(counts)), chunks)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(chunks) - chunks, chunks)
        first = begins[owner] + place * inner
        rows = np.empty((len(owner), self._row_length), self._dtype)
        rows[:, 0] = self._cls_id
        rows[:, 1:-1] = ids[first[:, None] + np.arange(inner)]
        rows[:, -1] = self._sep_id
        self.dropped_tokens += int((counts - chunks * inner).sum())
        self.dropped_documents += int((chunks == 0).sum())
        return rows

    def finish(self) -> np.ndarray:
        """Return no row: nothing is carried over, (0, T)."""
        return np.empty((0, self._row_length), self._dtype)


def unpack(rows: Iterable[np.ndarray], *, eos_id: int, pad_id: int) -> Iterator[np.ndarray]:
    """Yield the documents that `FullPacker` put into `rows`, each without its eos.

    Args:
        rows: Rows or blocks of rows, in the order in which they were packed.
        eos_id: Ends a document.
        pad_id: Fills the last row.
    """
    open_parts: list[np.ndarray] = []
    for block in rows:
        flat = np.asarray(block).reshape(-1)
        flat = flat[flat != pad_id]
        begin = 0
        for end in np.flatnonzero(flat == eos_id).tolist():
            yield np.concatenate([*open_parts, flat[begin:end]])
            open_parts.clear()
            begin = end + 1
        open_parts.append(flat[begin:].copy())
