"""A file to read and a slice of it: what every module of this package talks about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LONGEST_RECORD = 16_000_000
"""Bytes of one record, in UTF-8; 5 million Chinese characters. What is longer is set aside, so
that memory is bounded whatever a file holds."""

BLOCK_DOCUMENTS = 20_000
"""Documents of one block at most."""

BLOCK_BYTES = 4_000_000
"""Bytes after which a block is handed on."""

Format = Literal["csv", "jsonl", "json", "text", "parquet"]
Compression = Literal["", "gzip", "zstd"]
Encoding = Literal["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "gb18030"]


@dataclass(frozen=True)
class SourceFile:
    """One file of the input, as `inspect` found it."""

    path: Path
    format: Format
    compression: Compression
    encoding: Encoding
    bytes: int
    """On the disk."""
    mtime_ns: int

    @property
    def is_plain(self) -> bool:
        """Whether the bytes on the disk are the UTF-8 that is read."""
        return not self.compression and self.encoding in ("utf-8", "utf-8-sig")


@dataclass(frozen=True)
class Slice:
    """A stretch of a file that can be read by itself. The slices of a file tile it."""

    begin: int
    """First byte, of the file on the disk."""
    end: int
    """One past the last."""
    line: int
    """Line of the decoded file in which it begins, from 1 (of a Parquet file or JSON list: number
    of the record)."""


@dataclass
class Tally:
    """What a reader counts besides the documents it hands on."""

    records: int = 0
    """Records met, taken or set aside."""
