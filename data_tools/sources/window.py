"""A buffer that moves over a stream: it keeps the record that is not complete yet, and grows."""

from __future__ import annotations

import numpy as np

from data_tools.sources.stream import ByteStream

CHUNK = 4_000_000
"""Bytes read at a time."""

_MARK = b"\xef\xbb\xbf"
_LF, _CR = 10, 13


class Window:
    """Some consecutive bytes of a stream: `data[begin:end]`."""

    def __init__(self, stream: ByteStream) -> None:
        """Read the first bytes."""
        self.data = np.empty(0, np.uint8)
        """A new array after each `fill`, so that blocks may keep the one before."""
        self.begin = 0
        """First byte that is not done with."""
        self.end = 0
        self.is_last = False
        """Whether the stream ends at `end`."""
        self.offset = 0
        """Place of `data[0]` in the stream."""
        self._stream = stream
        self.fill()

    def fill(self) -> None:
        """Drop what lies before `begin` and read on behind `end`; what is kept is doubled."""
        kept = self.end - self.begin
        data = np.empty(kept + max(CHUNK, kept), np.uint8)
        data[:kept] = self.data[self.begin : self.end]
        filled = self._stream.readinto(data.data[kept:])
        self.offset += self.begin
        self.data, self.begin, self.end = data, 0, kept + filled
        self.is_last = self.end < len(data)

    def skip_mark(self) -> int:
        """Step over a byte order mark; only at the beginning of a file. Return its bytes."""
        while self.end - self.begin < len(_MARK) and not self.is_last:
            self.fill()
        size = len(_MARK) if self.data[: self.end][:3].tobytes() == _MARK else 0
        self.begin += size
        return size

    def skip(self, size: int) -> None:
        """Step over some bytes."""
        while size > self.end - self.begin and not self.is_last:
            size -= self.end - self.begin
            self.begin = self.end
            self.fill()
        self.begin += size

    def skip_line(self) -> int:
        """Step over the rest of a line, keeping nothing of it; return its bytes."""
        skipped = 0
        while True:
            here = self.data[self.begin : self.end]
            hits = np.flatnonzero((here == _LF) | (here == _CR))
            at = int(hits[0]) if len(hits) else len(here)
            is_whole = at + 1 < len(here) or (at < len(here) and here[at] == _LF)
            if is_whole or self.is_last:
                break
            skipped += at
            self.begin += at
            self.fill()
        line_end = 2 if here[at : at + 2].tobytes() == b"\r\n" else 1 if at < len(here) else 0
        self.begin += at + line_end
        return skipped + at + line_end
