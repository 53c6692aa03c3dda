"""Read files with one JSON list as blocks, element by element, without holding the whole list.

After a broken element it is not certain where the next one begins, so the rest of the file is set
aside with it.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources import window as chunks
from data_tools.sources.block import Block, SetAside, join_spans
from data_tools.sources.faults import (
    EXCERPT_BYTES,
    describe_bad_text,
    describe_too_long,
    make_excerpt,
)
from data_tools.sources.json_values import NotADocument, extract_text
from data_tools.sources.options import InputConfig
from data_tools.sources.source import RecordCount, Slice, SourceFile
from data_tools.sources.stream import ByteStream

_SPACE = re.compile(r"[ \t\n\r]*")


def read_json_list(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, count: RecordCount
) -> Iterator[Block]:
    """Yield the documents of a file."""
    yield from _Reader(stream, source, options.content_column, count).read_blocks()


class _EndError(Exception):
    """The rest of the list cannot be read; the argument says why."""


class _TextWindow:
    """Some consecutive characters of a stream, `text[at:]`; bad bytes become lone surrogates."""

    def __init__(self, stream: ByteStream) -> None:
        self.text = ""
        self.at = 0
        self.is_last = False
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")

    def fill(self) -> None:
        """Drop the text before `at` and read more, at least as much as is kept."""
        kept, more = self.text[self.at :], ""
        while not more and not self.is_last:
            buffer = bytearray(max(chunks.CHUNK, len(kept)))
            count = self._stream.readinto(memoryview(buffer))
            self.is_last = count < len(buffer)
            more = self._decoder.decode(buffer[:count], final=self.is_last)
        self.text, self.at = kept + more, 0

    def skip_to(self, end: int) -> bytes:
        """Move to `end`; return the bytes that were skipped."""
        passed = self.text[self.at : end]
        self.at = end
        return passed.encode("utf-8", "surrogateescape")

    def skip_space(self) -> int:
        """Skip white space; return its size in bytes."""
        size = 0
        while True:
            match = _SPACE.match(self.text, self.at)
            assert match is not None
            size += match.end() - self.at
            self.at = match.end()
            if self.at < len(self.text) or self.is_last:
                return size
            self.fill()

    def peek(self) -> str:
        """Return the next character; "" at the end of the stream."""
        return self.text[self.at : self.at + 1]


class _Reader:
    """Reads one list and gathers blocks."""

    def __init__(
        self, stream: ByteStream, source: SourceFile, key: str, count: RecordCount
    ) -> None:
        self._text = _TextWindow(stream)
        self._source = source
        self._key = key
        self._count = count
        self._decoder = json.JSONDecoder()
        self._number = 0
        self._begin_block()

    def read_blocks(self) -> Iterator[Block]:
        text = self._text
        text.fill()
        if text.peek() == "\ufeff":
            self._overhead += len(text.skip_to(1))
        try:
            self._overhead += text.skip_space()
            if not text.peek():
                yield self._take_block()
                return
            self._expect("[")
            if text.peek() != "]":
                while True:
                    self._read_element()
                    if self._is_full():
                        yield self._take_block()
                    self._overhead += text.skip_space()
                    if text.peek() == "]":
                        break
                    self._expect(",")
            self._overhead += len(text.skip_to(text.at + 1)) + text.skip_space()
            if text.peek():
                raise _EndError("text after the end of the list")
        except _EndError as error:
            self._aside.append(self._set_rest_aside(str(error)))
        yield self._take_block()

    def _expect(self, character: str) -> None:
        """Skip a character, which must be the next one, and white space after it."""
        if self._text.peek() != character:
            found = self._text.peek() or "the end of the file"
            raise _EndError(f"'{character}' is expected, not {found}")
        self._overhead += len(self._text.skip_to(self._text.at + 1)) + self._text.skip_space()

    def _read_element(self) -> None:
        """Read one element."""
        text = self._text
        while True:
            try:
                value, end = self._decoder.raw_decode(text.text, text.at)
                if end < len(text.text) or text.is_last:
                    break
                fault = ""  # a number may continue in the next chunk
            except json.JSONDecodeError as error:
                fault = f"{error.msg} at character {error.pos - text.at} of the element"
            except (ValueError, RecursionError) as error:
                fault = str(error)
            if text.is_last or len(text.text) - text.at > limits.LONGEST_RECORD:
                raise _EndError(fault or "an endless number")
            text.fill()
        raw = text.skip_to(end)
        self._number += 1
        self._count.records += 1
        self._sift(value, raw)

    def _sift(self, value: object, raw: bytes) -> None:
        """Take a value as a document, or set it aside."""
        number, size = self._number, len(raw)
        if size > limits.LONGEST_RECORD:
            self._aside.append(describe_too_long(number, size, raw))
            return
        fault = describe_bad_text(raw, line=number, size=size, encoding=self._source.encoding)
        if fault is None:
            try:
                self._texts.append(extract_text(value, self._key))
                self._lines.append(number)
                self._sizes.append(size)
                self._bytes += size
            except NotADocument as error:
                fault = error.describe(number, raw, size)
        if fault is not None:
            self._aside.append(fault)

    def _set_rest_aside(self, why: str) -> SetAside:
        """Return a description of the rest of the file, which is skipped."""
        text = self._text
        start = text.text[text.at : text.at + EXCERPT_BYTES].encode("utf-8", "surrogateescape")
        size = len(text.skip_to(len(text.text)))
        while not text.is_last:
            text.fill()
            size += len(text.skip_to(len(text.text)))
        self._count.records += 1
        detail = f"{why}; the rest of the list was not read"
        return SetAside(self._number + 1, "bad JSON", detail, make_excerpt(start), size)

    def _is_full(self) -> bool:
        records = len(self._texts) + len(self._aside)
        return self._bytes >= limits.BLOCK_BYTES or records >= limits.BLOCK_DOCUMENTS

    def _begin_block(self) -> None:
        self._texts: list[bytes] = []
        self._lines: list[int] = []
        self._sizes: list[int] = []
        self._aside: list[SetAside] = []
        self._overhead = 0
        self._bytes = 0

    def _take_block(self) -> Block:
        """Return the gathered block and begin a new one."""
        data, begins, ends = join_spans(self._texts)
        lines, sizes = np.array(self._lines, np.int64), np.array(self._sizes, np.int64)
        aside = tuple(self._aside)
        block = Block(data, begins, ends, lines, sizes, aside, self._overhead)
        self._begin_block()
        return block
