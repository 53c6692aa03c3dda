"""Files with one JSON list to blocks, element by element: the list is never held whole.

What stands behind a broken element cannot be told apart reliably, so the rest of the file is set
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
from data_tools.sources.faults import EXCERPT_BYTES, bad_text, excerpt, too_long
from data_tools.sources.json_values import NoDocument, document_of
from data_tools.sources.options import InputConfig
from data_tools.sources.source import Slice, SourceFile, Tally
from data_tools.sources.stream import ByteStream

_SPACE = re.compile(r"[ \t\n\r]*")
_BAD = re.compile("[\udc80-\udcff]")  # what became of bytes that are no UTF-8


def read_json_list(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, tally: Tally
) -> Iterator[Block]:
    """Yield the documents of a file."""
    yield from _Reader(stream, source, options.content_column, tally).blocks()


class _EndError(Exception):
    """The list cannot be read further; the argument says why."""


class _Text:
    """The characters of a stream that are not done with; bad bytes are lone surrogates."""

    def __init__(self, stream: ByteStream) -> None:
        self.text = ""
        self.at = 0
        self.is_last = False
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")

    def fill(self) -> None:
        """Drop what lies before `at` and read on; what is kept is doubled."""
        kept, more = self.text[self.at :], ""
        while not more and not self.is_last:
            buffer = bytearray(max(chunks.CHUNK, len(kept)))
            count = self._stream.readinto(memoryview(buffer))
            self.is_last = count < len(buffer)
            more = self._decoder.decode(buffer[:count], final=self.is_last)
        self.text, self.at = kept + more, 0

    def step(self, end: int) -> bytes:
        """Go on to `end`; return the bytes between."""
        passed = self.text[self.at : end]
        self.at = end
        return passed.encode("utf-8", "surrogateescape")

    def space(self) -> int:
        """Step over white space; return its bytes."""
        size = 0
        while True:
            match = _SPACE.match(self.text, self.at)
            assert match is not None
            size += match.end() - self.at
            self.at = match.end()
            if self.at < len(self.text) or self.is_last:
                return size
            self.fill()

    def sign(self) -> str:
        """Return the next character; "" at the end."""
        return self.text[self.at : self.at + 1]


class _Reader:
    """The state of going through a list."""

    def __init__(self, stream: ByteStream, source: SourceFile, key: str, tally: Tally) -> None:
        self._text = _Text(stream)
        self._source = source
        self._key = key
        self._tally = tally
        self._decoder = json.JSONDecoder()
        self._number = 0
        self._begin_block()

    def blocks(self) -> Iterator[Block]:
        text = self._text
        text.fill()
        if text.sign() == "\ufeff":
            self._overhead += len(text.step(1))
        try:
            self._overhead += text.space()
            if not text.sign():
                yield self._block()
                return
            self._expect("[")
            if text.sign() != "]":
                while True:
                    self._element()
                    if self._is_full():
                        yield self._block()
                    self._overhead += text.space()
                    if text.sign() == "]":
                        break
                    self._expect(",")
            self._overhead += len(text.step(text.at + 1)) + text.space()
            if text.sign():
                raise _EndError("text after the end of the list")
        except _EndError as error:
            self._aside.append(self._rest(str(error)))
        yield self._block()

    def _expect(self, sign: str) -> None:
        """Step over a sign and white space."""
        if self._text.sign() != sign:
            found = self._text.sign() or "the end of the file"
            raise _EndError(f"'{sign}' is expected, not {found}")
        self._overhead += len(self._text.step(self._text.at + 1)) + self._text.space()

    def _element(self) -> None:
        """Take one element."""
        text = self._text
        while True:
            try:
                value, end = self._decoder.raw_decode(text.text, text.at)
                if end < len(text.text) or text.is_last:
                    break
                fault = ""  # a number might go on
            except json.JSONDecodeError as error:
                fault = f"{error.msg} at character {error.pos - text.at} of the element"
            except (ValueError, RecursionError) as error:
                fault = str(error)
            if text.is_last or len(text.text) - text.at > limits.LONGEST_RECORD:
                raise _EndError(fault or "an endless number")
            text.fill()
        raw = text.step(end)
        self._number += 1
        self._tally.records += 1
        self._sift(value, raw)

    def _sift(self, value: object, raw: bytes) -> None:
        """Take a value as a document, or set it aside."""
        number, size = self._number, len(raw)
        if size > limits.LONGEST_RECORD:
            self._aside.append(too_long(number, size, raw))
            return
        fault = bad_text(raw, line=number, size=size, encoding=self._source.encoding)
        if fault is None:
            try:
                self._texts.append(document_of(value, self._key))
                self._lines.append(number)
                self._sizes.append(size)
                self._bytes += size
            except NoDocument as none:
                fault = none.aside(number, raw, size)
        if fault is not None:
            self._aside.append(fault)

    def _rest(self, why: str) -> SetAside:
        """Set aside all that is left of the file."""
        text = self._text
        start = text.text[text.at : text.at + EXCERPT_BYTES].encode("utf-8", "surrogateescape")
        size = len(text.step(len(text.text)))
        while not text.is_last:
            text.fill()
            size += len(text.step(len(text.text)))
        self._tally.records += 1
        detail = f"{why}; from here on nothing of the list was read"
        return SetAside(self._number + 1, "bad JSON", detail, excerpt(start), size)

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

    def _block(self) -> Block:
        """Return what was gathered and begin anew."""
        data, begins, ends = join_spans(self._texts)
        lines, sizes = np.array(self._lines, np.int64), np.array(self._sizes, np.int64)
        aside = tuple(self._aside)
        block = Block(data, begins, ends, lines, sizes, aside, self._overhead)
        self._begin_block()
        return block
