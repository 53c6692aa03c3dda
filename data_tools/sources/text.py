"""Read text files as blocks: a document is the file, a line, or a block of lines.

A block of lines is what stands between blank lines. In this file it is called a paragraph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import Block, join_spans, make_empty_block
from data_tools.sources.faults import (
    EXCERPT_BYTES,
    copy_start,
    describe_too_long,
    set_bad_aside,
)
from data_tools.sources.lines import Lines, LongLine, read_lines
from data_tools.sources.options import InputConfig
from data_tools.sources.source import Encoding, RecordCount, Slice, SourceFile
from data_tools.sources.stream import ByteStream
from data_tools.sources.window import Window


def read_text(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, count: RecordCount
) -> Iterator[Block]:
    """Yield the documents of a slice."""
    window = Window(stream)
    overhead = window.skip_mark() if part.begin == 0 else 0
    if overhead:
        yield make_empty_block(overhead=overhead)
    if options.text_documents == "file":
        yield from _read_file(window, source.encoding, count)
    elif options.text_documents == "line":
        yield from _read_each_line(window, source.encoding, part.line, count)
    else:
        yield from _read_paragraphs(window, source.encoding, part.line, count)


def _read_file(window: Window, encoding: Encoding, count: RecordCount) -> Iterator[Block]:
    """Yield the whole file as one document."""
    longest = limits.LONGEST_RECORD
    while not window.is_last and window.end - window.begin <= longest:
        window.fill()
    size = window.end - window.begin
    count.records += size > 0
    if size > longest:
        start = copy_start(window.data, window.begin, window.end)
        while not window.is_last:
            window.begin = window.end
            window.fill()
            size += window.end
        cure = " as one document; use --text-documents line or block, or split the file"
        yield make_empty_block(describe_too_long(1, size, start, cure=cure))
    elif size:
        begins, ends, lines, sizes = np.array([[window.begin], [window.end], [1], [size]])
        yield set_bad_aside(Block(window.data, begins, ends, lines, sizes), encoding)


def _read_each_line(
    window: Window, encoding: Encoding, line: int, count: RecordCount
) -> Iterator[Block]:
    """Yield the lines that are not blank."""
    for item in read_lines(window, line):
        if isinstance(item, LongLine):
            count.records += 1
            yield make_empty_block(describe_too_long(item.number, item.size, item.start))
            continue
        blank = item.find_blank()
        kept = np.flatnonzero(~blank)
        sizes = item.nexts - item.begins
        count.records += len(kept)
        block = Block(
            item.data,
            item.begins[kept],
            item.ends[kept],
            kept + item.number,
            sizes[kept],
            overhead=int(sizes[blank].sum()),
        )
        yield set_bad_aside(block, encoding)


@dataclass
class _Paragraph:
    """Lines that are not blank; more of them may follow."""

    line: int
    size: int = 0
    has_long_line: bool = False
    parts: list[bytes] = field(default_factory=list)
    start: bytes = b""
    line_end: int = 0
    """Bytes of the last line end."""

    def add(self, part: bytes, size: int, line_end: int) -> None:
        """Add lines. If the paragraph gets too long, only its start is kept."""
        self.start = (self.start + part)[:EXCERPT_BYTES]
        self.size += size
        self.line_end = line_end
        self.parts.append(part)
        if self.is_too_long():
            self.parts.clear()

    def add_lines(self, lines: Lines, first: int, last: int) -> None:
        """Add the lines from `first` to `last`, both included."""
        part = lines.data[lines.begins[first] : lines.nexts[last]].tobytes()
        self.add(part, len(part), int(lines.nexts[last] - lines.ends[last]))

    def is_too_long(self) -> bool:
        return self.has_long_line or self.size - self.line_end > limits.LONGEST_RECORD

    def make_block(self, encoding: Encoding) -> Block:
        """Return the paragraph as a block of one document."""
        if self.is_too_long():
            return make_empty_block(describe_too_long(self.line, self.size, self.start))
        text = b"".join(self.parts)
        data, begins, ends = join_spans([text[: len(text) - self.line_end]])
        block = Block(data, begins, ends, np.array([self.line]), np.array([self.size]))
        return set_bad_aside(block, encoding)


def _read_paragraphs(
    window: Window, encoding: Encoding, line: int, count: RecordCount
) -> Iterator[Block]:
    """Yield the paragraphs. One at the edge of a buffer is put together from its parts."""
    rest: _Paragraph | None = None
    for item in read_lines(window, line):
        if isinstance(item, LongLine):
            rest = rest or _Paragraph(item.number)
            rest.has_long_line = True
            rest.add(item.start, item.size, 0)
            continue
        blank = item.find_blank()
        overhead = int((item.nexts - item.begins)[blank].sum())
        firsts, lasts = _find_runs(~blank)
        at_end = len(item.ends) - 1
        if rest is not None and len(firsts) and firsts[0] == 0:
            rest.add_lines(item, 0, lasts[0])
            if lasts[0] == at_end:
                continue
            firsts, lasts = firsts[1:], lasts[1:]
        if rest is not None:
            count.records += 1
            yield rest.make_block(encoding)
            rest = None
        if len(lasts) and lasts[-1] == at_end:
            rest = _Paragraph(item.number + int(firsts[-1]))
            rest.add_lines(item, firsts[-1], lasts[-1])
            firsts, lasts = firsts[:-1], lasts[:-1]
        count.records += len(firsts)
        yield set_bad_aside(_make_block(item, firsts, lasts, overhead), encoding)
    if rest is not None:
        count.records += 1
        yield rest.make_block(encoding)


def _find_runs(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last number of each unbroken run in a mask, (n,) bool."""
    padded = np.concatenate(([False], wanted, [False]))
    return np.flatnonzero(padded[1:] & ~padded[:-1]), np.flatnonzero(padded[:-1] & ~padded[1:]) - 1


def _make_block(item: Lines, firsts: np.ndarray, lasts: np.ndarray, overhead: int) -> Block:
    """Return the paragraphs from line `firsts` to line `lasts` of `item`, (n,) each."""
    begins = item.begins[firsts]
    nexts = item.nexts[lasts]
    long = np.flatnonzero(item.ends[lasts] - begins > limits.LONGEST_RECORD)
    aside = [
        describe_too_long(
            item.number + int(firsts[n]),
            int(nexts[n] - begins[n]),
            copy_start(item.data, int(begins[n]), int(nexts[n])),
        )
        for n in long.tolist()
    ]
    short = np.delete(np.arange(len(firsts)), long)
    return Block(
        item.data,
        begins[short],
        item.ends[lasts[short]],
        firsts[short] + item.number,
        (nexts - begins)[short],
        tuple(aside),
        overhead,
    )
