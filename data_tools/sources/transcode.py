"""Convert a stream from another encoding to UTF-8.

A byte that cannot be decoded becomes the byte 0xFF, which never occurs in UTF-8. So the fault is
found later, and only the record that holds it is set aside.
"""

from __future__ import annotations

import codecs
import io
from abc import abstractmethod
from typing import Any

MARK_BAD = "gpt2zh.mark-bad"
"""Name of the error handler for decoding; the text is then encoded with `surrogateescape`."""


def _mark(error: Any) -> tuple[str, int]:
    # At the end of a buffer a broken character of GB18030 may swallow the line end behind it.
    return "\udcff", error.start + 1 if error.encoding == "gb18030" else error.end


codecs.register_error(MARK_BAD, _mark)


class Converter(io.RawIOBase):
    """A stream of UTF-8 that is made of another one; the result depends on its bytes alone."""

    def __init__(self, inner: Any, size: int) -> None:
        """Store the stream, of which `size` bytes are read at a time."""
        self._inner = inner
        self._size = size
        self._ready = b""
        self._taken = 0
        self._is_last = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with UTF-8; return the number of bytes, 0 at the end."""
        while self._taken == len(self._ready):
            if self._is_last:
                return 0
            data = self._inner.read(self._size)
            self._is_last = not data
            self._ready, self._taken = self._convert(data), 0
        count = min(len(buffer), len(self._ready) - self._taken)
        buffer[:count] = self._ready[self._taken : self._taken + count]
        self._taken += count
        return count

    @abstractmethod
    def _convert(self, data: bytes) -> bytes:
        """Return what can be converted of all bytes so far; no more follow if `data` is empty."""


class Utf16(Converter):
    """Converts a stream of UTF-16."""

    def __init__(self, inner: Any, size: int, encoding: str) -> None:
        """Store the stream; the encoding is utf-16-le or utf-16-be."""
        super().__init__(inner, size)
        self._decoder = codecs.getincrementaldecoder(encoding)(MARK_BAD)

    def _convert(self, data: bytes) -> bytes:
        return self._decoder.decode(data, final=not data).encode("utf-8", "surrogateescape")
