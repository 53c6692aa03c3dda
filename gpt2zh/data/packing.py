"""Pack documents into rows of one length: pure arithmetic on token ids.

There are two rules: `FullPacker` joins documents and loses nothing; `ZeroNlpPacker` does what the
zero_nlp project did, for comparison. Both take documents in portions and keep the tokens that do
not fill a row yet, so a corpus of any size can be streamed.

Shapes: `T` tokens of a row, `n` documents, `t` tokens of a portion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

SMALLEST_ROW = 8
"""Tokens; a shorter row would hold almost nothing but special tokens."""


class Packer(Protocol):
    """Turns documents into rows, and counts padding and dropped tokens."""

    padding: int
    dropped_tokens: int
    dropped_documents: int

    def add(self, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Add documents and return the rows that became full, (rows, T).

        Args:
            ids: (t,), the documents joined, each with its end-of-document token.
            counts: (n,), tokens of each.
        """
        ...

    def finish(self) -> np.ndarray:
        """Return the last row, if any tokens are left, (0 or 1, T)."""
        ...


class FullPacker:
    """Joins documents; one that does not fit into a row continues in the next row."""

    def __init__(self, row_length: int, *, pad_id: int, dtype: np.dtype) -> None:
        self._row_length = row_length
        self._pad_id = pad_id
        self._rest = np.empty(0, dtype)
        self.padding = 0
        self.dropped_tokens = 0
        self.dropped_documents = 0

    def add(self, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Add documents and return the rows that became full, (rows, T)."""
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
    """Makes rows of [CLS], T - 2 tokens, [SEP] of each document; drops what does not fill one."""

    def __init__(self, row_length: int, *, cls_id: int, sep_id: int, dtype: np.dtype) -> None:
        self._row_length = row_length
        self._cls_id = cls_id
        self._sep_id = sep_id
        self._dtype = dtype
        self.padding = 0
        self.dropped_tokens = 0
        self.dropped_documents = 0

    def add(self, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Add documents and return their whole chunks, (rows, T)."""
        inner = self._row_length - 2
        begins = np.cumsum(counts) - counts  # (n,)
        chunks = counts // inner  # (n,)
        # For each row: the document it is cut from, and the number of the chunk in that document.
        owner = np.repeat(np.arange(len(counts)), chunks)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(chunks) - chunks, chunks)
        first = begins[owner] + number * inner
        rows = np.empty((len(owner), self._row_length), self._dtype)
        rows[:, 0] = self._cls_id
        rows[:, 1:-1] = ids[first[:, None] + np.arange(inner)]
        rows[:, -1] = self._sep_id
        self.dropped_tokens += int((counts - chunks * inner).sum())
        self.dropped_documents += int((chunks == 0).sum())
        return rows

    def finish(self) -> np.ndarray:
        """Return no rows, (0, T): no tokens are kept between calls."""
        return np.empty((0, self._row_length), self._dtype)


def unpack(rows: Iterable[np.ndarray], *, eos_id: int, pad_id: int) -> Iterator[np.ndarray]:
    """Yield the documents that `FullPacker` put into `rows`, each without its eos.

    Args:
        rows: Rows or blocks of rows, in the order of packing.
        eos_id: Id of the end-of-document token.
        pad_id: Id of padding, which fills the last row.
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
