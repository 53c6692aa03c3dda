"""A buffer that moves over a stream; it keeps a record that is not complete yet, and may grow."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Protocol

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.mark_kernel import LF, find_mark

CHUNK = 4_000_000
"""Bytes read at a time."""


class Stream(Protocol):
    """Bytes to read, as from a `ByteStream`."""

    @property
    def damage(self) -> str:
        """Return why the bytes after those that were read cannot be read; "" for the end."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer; return the number of bytes, less than its size only at the end."""


class Window:
    """Consecutive bytes of a stream: `data[begin:end]`."""

    def __init__(self, stream: Stream) -> None:
        """Read the first bytes."""
        self.data = np.empty(0, np.uint8)
        """A new array after each `fill`, so that blocks can keep the old one."""
        self.begin = 0
        """First byte that is still needed."""
        self.end = 0
        self.is_last = False
        """Whether the stream ends at `end`."""
        self.offset = 0
        """Position of `data[0]` in the stream."""
        self._stream = stream
        self.fill()

    def fill(self) -> None:
        """Drop the bytes before `begin` and read more after `end`.

        Reads at least as many bytes as are kept, so that a record that is scanned again after each
        `fill` costs at most twice its size. A record that is too long anyway needs no such growth.

        Raises:
            DamagedError: The stream is damaged there.
        """
        kept = self.end - self.begin
        data = np.empty(kept + max(CHUNK, min(kept, limits.LONGEST_RECORD - kept)), np.uint8)
        data[:kept] = self.data[self.begin : self.end]
        filled = self._stream.readinto(data.data[kept:])
        self.offset += self.begin
        self.data, self.begin, self.end = data, 0, kept + filled
        self.is_last = self.end < len(data) and not self._stream.damage

    def skip_mark(self) -> int:
        """Skip a byte order mark at the beginning of a file; return its size in bytes."""
        while self.end - self.begin < len(BOM_UTF8) and not self.is_last:
            self.fill()
        size = len(BOM_UTF8)
        size *= self.data[self.begin : self.end][:size].tobytes() == BOM_UTF8
        self.begin += size
        return size

    def skip(self, size: int) -> None:
        """Skip `size` bytes."""
        while size > self.end - self.begin and not self.is_last:
            size -= self.end - self.begin
            self.begin = self.end
            self.fill()
        self.begin += size

    def skip_line(self) -> int:
        """Skip the rest of a line without keeping it; return its size in bytes."""
        skipped = 0
        while True:
            at = find_mark(self.data, self.begin, self.end, LF)
            skipped += at - self.begin
            self.begin = at
            line_end = self.data[at : min(at + 2, self.end)].tobytes()
            if self.is_last or len(line_end) == 2 or line_end == b"\n":
                break
            self.fill()
        size = 2 if line_end == b"\r\n" else len(line_end[:1])
        self.begin += size
        return skipped + size
