"""The text of a JSON file as a window that moves on; what is not needed any more is dropped."""

from __future__ import annotations

import codecs

from data_tools.sources import window as chunks
from data_tools.sources.json_shape import skip_space
from data_tools.sources.stream import ByteStream

_CHUNK = 1 << 18  # bytes; an error of `json` counts the lines of the window, so it should be short


class TextWindow:
    """Some consecutive characters of a stream, `text[at:]`; bad bytes become lone surrogates."""

    def __init__(self, stream: ByteStream) -> None:
        """Start with an empty window; `fill` reads the first characters."""
        self.text = ""
        self.at = 0
        self.passed = 0
        """Characters of the stream before `at`."""
        self.is_last = False
        """Whether the stream ends where `text` ends."""
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")

    def fill(self) -> None:
        """Drop the text before `at` and read more, at least as much as is kept.

        Raises:
            DamagedError: The stream is damaged there.
        """
        kept, more = self.text[self.at :], ""
        while not more and not self.is_last:
            buffer = bytearray(max(min(chunks.CHUNK, _CHUNK), len(kept)))
            count = self._stream.readinto(memoryview(buffer))
            self.is_last = count < len(buffer) and not self._stream.damage
            more = self._decoder.decode(buffer[:count], final=self.is_last)
        self.text, self.at = kept + more, 0

    def skip_to(self, end: int) -> bytes:
        """Move to `end`; return the bytes that were skipped."""
        passed = self.text[self.at : end]
        self.passed += len(passed)
        self.at = end
        return passed.encode("utf-8", "surrogateescape")

    def skip_space(self) -> int:
        """Skip white space; return its size in bytes."""
        size = 0
        while True:
            size += len(self.skip_to(skip_space(self.text, self.at)))
            if self.at < len(self.text) or self.is_last:
                return size
            self.fill()

    def peek(self) -> str:
        """Return the next character; "" at the end of the stream."""
        return self.text[self.at : self.at + 1]

    def look(self, begin: int, count: int) -> tuple[str, bool]:
        """Return up to `count` characters from `begin` on, and whether the stream ends there.

        Fills the window if they are not in it, so positions from before are valid only relative to
        `at`. Damage that follows is no fault of what stands before it, so it raises no error.
        """
        before = begin - self.at
        while len(self.text) - self.at - before <= count and not self._is_end:
            self.fill()
        begin = self.at + before
        is_whole = self.is_last and len(self.text) <= begin + count
        return self.text[begin : begin + count], is_whole

    @property
    def _is_end(self) -> bool:
        """Whether nothing follows `text` that can be read."""
        return self.is_last or bool(self._stream.damage)
