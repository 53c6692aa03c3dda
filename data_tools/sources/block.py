"""The type that every reader yields: documents as spans of one buffer of UTF-8.

No Python string is made for a document, so that a numba kernel can process thousands of them in one
call. Records that cannot be documents travel with them as `SetAside`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class SetAside:
    """One record that did not become a document."""

    line: int
    """Line of the file where the record begins, from 1. In a Parquet file or JSON list: number of
    the record."""
    reason: str
    """The kind of fault; the ledger counts records by it."""
    detail: str
    """What is wrong with this record."""
    excerpt: str
    """Some text of the record, so that a user can find it."""
    size: int
    """Bytes of the decoded file that the record takes."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive documents of one file. Shapes: `n` documents, `s` bytes."""

    data: np.ndarray
    """(s,) uint8; every span is valid UTF-8 without NUL. Bytes between spans have no meaning."""
    begins: np.ndarray
    """(n,) int64, first byte of each document in `data`; never decreases."""
    ends: np.ndarray
    """(n,) int64, one past the last byte."""
    lines: np.ndarray
    """(n,) int64, line where each document's record begins, counted as in `SetAside.line`."""
    sizes: np.ndarray
    """(n,) int64, bytes of the decoded file that each document's record takes, including other
    columns and syntax."""
    set_aside: tuple[SetAside, ...] = ()
    overhead: int = 0
    """Bytes of the decoded file that belong to no record: byte order mark, header, blank lines.
    `overhead`, `sizes` and the sizes in `set_aside` add up to the bytes read."""

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.begins)

    @property
    def bytes(self) -> int:
        """Bytes of the decoded file that it covers."""
        return int(self.sizes.sum()) + sum(one.size for one in self.set_aside) + self.overhead

    def text(self, number: int) -> str:
        """Return one document as a string."""
        return self.data[self.begins[number] : self.ends[number]].tobytes().decode("utf-8")

    def texts(self) -> list[str]:
        """Return all documents as strings."""
        raw = self.data.tobytes()
        spans = zip(self.begins.tolist(), self.ends.tolist(), strict=True)
        return [raw[begin:end].decode("utf-8") for begin, end in spans]


def make_empty_block(*aside: SetAside, overhead: int = 0) -> Block:
    """Return a block without documents."""
    none = np.zeros(0, np.int64)
    return Block(np.zeros(0, np.uint8), none, none, none, none, aside, overhead)


def join_spans(parts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `data`, `begins` and `ends` of a block that holds these documents."""
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    begins = ends - np.fromiter(map(len, parts), np.int64, len(parts))
    return np.frombuffer(b"".join(parts), np.uint8), begins, ends
