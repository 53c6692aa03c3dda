"""Types and limits that all readers share: a file of the input, and a slice of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LONGEST_RECORD = 16_000_000
"""Most bytes of one record in UTF-8, about 5 million Chinese characters. Longer records are set
aside, so that memory is bounded for any file."""

BLOCK_DOCUMENTS = 20_000
"""Most documents of one block."""

BLOCK_BYTES = 4_000_000
"""Bytes after which a reader yields a block."""

Format = Literal["csv", "jsonl", "json", "json values", "text", "parquet"]
"""json is one list, jsonl one value a line, json values are values over any number of lines."""
Compression = Literal["", "gzip", "zstd"]
Encoding = Literal["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "gb18030"]
UTF8: tuple[Encoding, ...] = ("utf-8", "utf-8-sig")
"""Encodings of files whose bytes need no conversion."""


@dataclass(frozen=True)
class SourceFile:
    """One file of the input, as `inspect` found it."""

    path: Path
    format: Format
    compression: Compression
    encoding: Encoding
    bytes: int
    """Size on the disk."""
    mtime_ns: int
    delimiter: str = ","
    """What separates the columns, in a CSV file."""

    @property
    def is_plain(self) -> bool:
        """Return whether the bytes on the disk are the UTF-8 that readers get."""
        return not self.compression and self.encoding in UTF8


@dataclass(frozen=True)
class Slice:
    """A part of a file that can be read independently; slices cover a file without overlap."""

    begin: int
    """First byte, in the file on the disk."""
    end: int
    """One past the last byte."""
    line: int
    """Line of the decoded file where the slice begins, from 1. In a Parquet file or JSON list:
    number of the record."""


@dataclass
class RecordCount:
    """A counter that a reader increments."""

    records: int = 0
    """Records that were read: documents and records set aside."""
