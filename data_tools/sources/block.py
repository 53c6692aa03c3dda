"""The type that flows from every reader: documents as spans of one buffer of UTF-8.

No Python string is made for a document, so that a numba kernel can go through a thousand of them
in one call. What cannot be a document travels beside as `SetAside`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class SetAside:
    """One record that was not taken."""

    line: int
    """Where it begins: line of the file from 1 (of a Parquet file or JSON list: number of the
    record)."""
    reason: str
    """The kind of fault, by which they are counted."""
    detail: str
    """The fault of this record."""
    excerpt: str
    """Some of the record, so that it can be found."""
    size: int
    """Bytes of the decoded file that it takes up."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive documents of one file. Shapes: `n` documents, `s` bytes."""

    data: np.ndarray
    """(s,) uint8; every span is valid UTF-8 without NUL. Bytes between spans mean nothing."""
    begins: np.ndarray
    """(n,) int64, first byte of each document in `data`; never decreasing."""
    ends: np.ndarray
    """(n,) int64, one past the last byte."""
    lines: np.ndarray
    """(n,) int64, where each document's record begins, counted as in `SetAside.line`."""
    sizes: np.ndarray
    """(n,) int64, bytes of the decoded file that its record takes up, other columns and syntax
    included."""
    set_aside: tuple[SetAside, ...] = ()
    overhead: int = 0
    """Bytes of the decoded file that belong to no record: BOM, header, blank lines. With `sizes`
    and the sizes set aside they sum up to the bytes read."""

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.begins)

    def text(self, number: int) -> str:
        """Return one document as a string."""
        return self.data[self.begins[number] : self.ends[number]].tobytes().decode("utf-8")

    def texts(self) -> list[str]:
        """Return all documents as strings."""
        raw = self.data.tobytes()
        spans = zip(self.begins.tolist(), self.ends.tolist(), strict=True)
        return [raw[begin:end].decode("utf-8") for begin, end in spans]


def join_spans(parts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `data`, `begins` and `ends` of a block with these documents."""
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    begins = ends - np.fromiter(map(len, parts), np.int64, len(parts))
    return np.frombuffer(b"".join(parts), np.uint8), begins, ends
