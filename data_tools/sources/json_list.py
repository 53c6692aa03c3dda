"""Read JSON files that are one list as blocks, element by element, without holding the list.

A broken element loses only itself: it is set aside, and reading goes on where `json_footing` finds
the next whole one. Commas too many or forgotten between objects lose no text, so they are passed
over as structure. Three shapes are read: a list; an object that holds it under one key; and values
that follow one another without a list, such as objects over several lines each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import Block, SetAside, join_spans
from data_tools.sources.detect import EncodingChoice
from data_tools.sources.faults import (
    EXCERPT_BYTES,
    describe_too_long,
    judge_record,
    make_excerpt,
)
from data_tools.sources.json_footing import AHEAD, Parsed, Parser
from data_tools.sources.json_shape import PREFIX, SPACES, find_prefix, make_tail, skip_space
from data_tools.sources.json_values import NotADocument, extract_text, parse_value
from data_tools.sources.json_window import TextWindow
from data_tools.sources.options import InputConfig
from data_tools.sources.source import RecordCount, Slice, SourceFile
from data_tools.sources.stream import ByteStream, DamagedError

_COMMENTS = {"//": "\n", "#": "\n", "/*": "*/"}


def read_json_list(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, count: RecordCount
) -> Iterator[Block]:
    """Yield the documents of a file."""
    closing = "" if source.format == "json values" else "]"
    yield from _Reader(stream, source, options, count, closing).read_blocks()


class _Reader:
    """Reads one list and gathers blocks."""

    def __init__(
        self,
        stream: ByteStream,
        source: SourceFile,
        options: InputConfig,
        count: RecordCount,
        closing: str,
    ) -> None:
        self._text = TextWindow(stream)
        self._source = source
        self._key = options.content_column
        self._choice: EncodingChoice = options.encoding
        self._count = count
        self._closing = closing
        self._kinds: set[str] = set()
        self._number = 0
        self._begin_block()

    def read_blocks(self) -> Iterator[Block]:
        """Yield the documents of the stream.

        Raises:
            DamagedError: The stream is damaged; what stands before that was yielded.
        """
        text = self._text
        text.fill()
        if text.peek() == "\ufeff":
            self._overhead += len(text.skip_to(text.at + 1))
        self._overhead += text.skip_space()
        start, _ = text.look(text.at, PREFIX)
        prefix = find_prefix(start) if self._closing else 0
        self._is_open = prefix > 0
        self._parser = Parser(text, self._closing, make_tail(start[:prefix]))
        self._overhead += len(text.skip_to(text.at + prefix))
        try:
            while self._read_item():
                if self._is_full():
                    yield self._take_block()
        except DamagedError:
            yield self._take_block()  # what was read before the damage
            raise
        yield self._take_block()

    def _read_item(self) -> bool:
        """Read one element, or what else is at its place; return whether more may follow."""
        text = self._text
        while True:
            self._overhead += text.skip_space()
            if text.peek() != ",":
                break
            self._overhead += len(text.skip_to(text.at + 1))
        first = text.peek()
        if not first:
            if self._is_open:
                self._set_aside("the file ends before the list does; was it cut off?", b"", 0)
            return False
        if first == self._closing:
            return self._read_closing()
        if self._skip_comment():
            return True
        found = self._parser.parse()
        why = found.fault or self._find_misfit(found)
        if not why:
            raw = text.skip_to(text.at + found.size)
            self._number += 1
            self._count.records += 1
            if self._sift(found.value, raw) or first == "[":
                self._kinds.add(first)  # one that is found in a broken element may deceive
            return True
        if first == "[" and self._is_stray():
            self._set_aside("a bracket that is never closed", text.skip_to(text.at + 1), 1)
            return True
        return self._skip_broken(why)

    def _find_misfit(self, found: Parsed) -> str:
        """Return what is wrong with that which follows an element, "" if nothing is.

        Objects need no comma: they show where they end.
        """
        text = self._text
        end = text.at + found.size
        behind = text.text[(at := skip_space(text.text, end)) : at + 1]
        if not behind:
            ahead, is_whole = text.look(end, AHEAD)
            behind = ahead.lstrip(SPACES)[:1]
            if not behind and (not is_whole or not isinstance(found.value, list)):
                return ""
        is_object = isinstance(found.value, dict)
        if behind in (",", self._closing) or (is_object and behind in "{/#"):
            return ""
        if not behind and not self._closing:
            return ""
        return f"',' is expected, not {behind or 'the end of the file'}"

    def _is_stray(self) -> bool:
        """Return whether the elements of the list go on behind an opening bracket."""
        ahead, _ = self._text.look(self._text.at + 1, AHEAD)
        return "[" not in self._kinds and ahead.lstrip(SPACES)[:1] in ('"', "{")

    def _read_closing(self) -> bool:
        """Read a closing bracket; return whether more may follow, as after a stray bracket."""
        text = self._text
        behind, is_whole = text.look(text.at + 1, AHEAD)
        if not self._parser.ends(behind):
            return self._skip_broken("text after the end of the list")
        self._overhead += len(text.skip_to(text.at + 1)) + text.skip_space()
        if text.peek() == "[":  # one list after another
            self._overhead += len(text.skip_to(text.at + 1))
            return True
        if is_whole:
            self._overhead += len(text.skip_to(len(text.text)))
        return bool(text.peek()) and self._skip_broken("text after the end of the list")

    def _skip_comment(self) -> bool:
        """Set a comment aside, if there is one; what it says is not for the model."""
        text = self._text
        start, _ = text.look(text.at, EXCERPT_BYTES)
        end = next((end for sign, end in _COMMENTS.items() if start.startswith(sign)), "")
        if not end:
            return False
        raw = start.split(end)[0].encode("utf-8", "surrogateescape")
        size = len(text.skip_to(text.at + 1))
        while True:
            at = text.text.find(end, text.at)
            if at >= 0 or text.is_last:
                break
            size += len(text.skip_to(max(text.at, len(text.text) - 1)))
            text.fill()
        size += len(text.skip_to(at + len(end) if at >= 0 else len(text.text)))
        self._set_aside("a comment, which JSON does not have", raw, size)
        return True

    def _skip_broken(self, why: str) -> bool:
        """Set aside what is broken; return whether a whole element follows."""
        text = self._text
        start, _ = text.look(text.at, EXCERPT_BYTES)
        first = text.peek()
        kinds = self._kinds & {'"', "{", "["} or {'"', "{"}
        if first == "{" and not self._kinds:
            kinds = {"{"}
        elif first in ('"', "{"):
            kinds = kinds | {first}
        begun = len(text.skip_to(text.at + 1))
        skipped = self._parser.find(kinds, first)
        size = begun + skipped.size
        raw = start.encode("utf-8", "surrogateescape")[:EXCERPT_BYTES]
        if not skipped.is_found:
            why += "; no whole element follows"
        if size > limits.LONGEST_RECORD and skipped.is_found:
            self._number += 1
            self._count.records += 1
            self._aside.append(describe_too_long(self._number, size, raw))
        else:
            self._set_aside(why, raw[:size], size)
        self._overhead += skipped.overhead
        return skipped.is_found

    def _set_aside(self, why: str, raw: bytes, size: int) -> None:
        """Set aside something that is not an element."""
        self._number += 1
        self._count.records += 1
        self._aside.append(SetAside(self._number, "bad JSON", why, make_excerpt(raw), size))

    def _sift(self, value: object, raw: bytes) -> bool:
        """Take a value as a document, or set it aside; return whether it is a document."""
        number, size = self._number, len(raw)
        if size > limits.LONGEST_RECORD:
            self._aside.append(describe_too_long(number, size, raw))
            return False
        found = judge_record(
            raw, line=number, size=size, encoding=self._source.encoding, choice=self._choice
        )
        if isinstance(found, SetAside):
            self._aside.append(found)
            return False
        try:
            value = value if found is raw else parse_value(found)
            self._texts.append(extract_text(value, self._key))
        except NotADocument as error:
            self._aside.append(error.describe(number, found, size))
            return False
        self._lines.append(number)
        self._sizes.append(size)
        self._bytes += size
        return True

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
