"""Text files to blocks: each file, line or stretch between blank lines is a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import Block, SetAside, join_spans
from data_tools.sources.faults import EXCERPT_BYTES, bad_documents, bad_text, beginning, too_long
from data_tools.sources.lines import Lines, LongLine, read_lines
from data_tools.sources.options import InputConfig
from data_tools.sources.source import Slice, SourceFile, Tally
from data_tools.sources.stream import ByteStream
from data_tools.sources.window import Window

_NONE = np.zeros(0, np.int64)
_NOTHING = np.zeros(0, np.uint8)


def read_text(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, tally: Tally
) -> Iterator[Block]:
    """Yield the documents of a slice."""
    window = Window(stream)
    overhead = window.skip_mark() if part.begin == 0 else 0
    if overhead:
        yield aside_block(overhead=overhead)
    if options.text_documents == "file":
        yield from _read_file(window, source, tally)
    elif options.text_documents == "line":
        yield from _read_each_line(window, source, part.line, tally)
    else:
        yield from _read_stretches(window, source, part.line, tally)


def sift(
    data: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    lines: np.ndarray,
    sizes: np.ndarray,
    *,
    source: SourceFile,
    overhead: int = 0,
) -> Block:
    """Return a block of those documents that are text; the others are set aside."""
    aside: list[SetAside] = []
    bad = bad_documents(data, begins, ends)
    for number in bad:
        text = data[begins[number] : ends[number]].tobytes()
        fault = bad_text(
            text, line=int(lines[number]), size=int(sizes[number]), encoding=source.encoding
        )
        assert fault is not None
        aside.append(fault)
    if bad:
        begins, ends, lines, sizes = (np.delete(a, bad) for a in (begins, ends, lines, sizes))
    return Block(data, begins, ends, lines, sizes, tuple(aside), overhead)


def aside_block(*aside: SetAside, overhead: int = 0) -> Block:
    """Return a block without documents."""
    return Block(_NOTHING, _NONE, _NONE, _NONE, _NONE, aside, overhead)


def _read_file(window: Window, source: SourceFile, tally: Tally) -> Iterator[Block]:
    """Yield the one document."""
    longest = limits.LONGEST_RECORD
    while not window.is_last and window.end - window.begin <= longest:
        window.fill()
    size = window.end - window.begin
    tally.records += size > 0
    if size > longest:
        start = beginning(window.data, window.begin, window.end)
        while not window.is_last:
            window.begin = window.end
            window.fill()
            size += window.end
        cure = " as one document; take --text-documents line or block, or split the file"
        yield aside_block(too_long(1, size, start, cure=cure))
    elif size:
        spans = (np.array([place]) for place in (window.begin, window.end, 1, size))
        yield sift(window.data, *spans, source=source)


def _read_each_line(window: Window, source: SourceFile, line: int, tally: Tally) -> Iterator[Block]:
    for item in read_lines(window, line):
        if isinstance(item, LongLine):
            tally.records += 1
            yield aside_block(too_long(item.number, item.size, item.start))
            continue
        blank = item.blank()
        kept = np.flatnonzero(~blank)
        sizes = item.nexts - item.begins
        tally.records += len(kept)
        yield sift(
            item.data,
            item.begins[kept],
            item.ends[kept],
            kept + item.number,
            sizes[kept],
            source=source,
            overhead=int(sizes[blank].sum()),
        )


@dataclass
class _Stretch:
    """Lines that are not blank, of which more may come."""

    line: int
    size: int = 0
    has_long_line: bool = False
    parts: list[bytes] = field(default_factory=list)
    start: bytes = b""
    line_end: int = 0
    """Bytes of the last line end."""

    def add(self, part: bytes, size: int, line_end: int) -> None:
        """Take more lines; of what grows too long, nothing is kept but the beginning."""
        self.start = (self.start + part)[:EXCERPT_BYTES]
        self.size += size
        self.line_end = line_end
        self.parts.append(part)
        if self.is_too_long():
            self.parts.clear()

    def add_lines(self, lines: Lines, first: int, last: int) -> None:
        """Take lines of a buffer, to the last one."""
        part = lines.data[lines.begins[first] : lines.nexts[last]].tobytes()
        self.add(part, len(part), int(lines.nexts[last] - lines.ends[last]))

    def is_too_long(self) -> bool:
        return self.has_long_line or self.size - self.line_end > limits.LONGEST_RECORD

    def close(self, source: SourceFile) -> Block:
        """Return it as a document."""
        if self.is_too_long():
            return aside_block(too_long(self.line, self.size, self.start))
        text = b"".join(self.parts)
        data, begins, ends = join_spans([text[: len(text) - self.line_end]])
        return sift(data, begins, ends, np.array([self.line]), np.array([self.size]), source=source)


def _read_stretches(window: Window, source: SourceFile, line: int, tally: Tally) -> Iterator[Block]:
    """Yield the blocks of lines; one at the edge of a buffer is put together from its parts."""
    rest: _Stretch | None = None
    for item in read_lines(window, line):
        if isinstance(item, LongLine):
            rest = rest or _Stretch(item.number)
            rest.has_long_line = True
            rest.add(item.start, item.size, 0)
            continue
        blank = item.blank()
        overhead = int((item.nexts - item.begins)[blank].sum())
        firsts, lasts = _runs(~blank)
        at_end = len(item.ends) - 1
        if rest is not None and len(firsts) and firsts[0] == 0:
            rest.add_lines(item, 0, lasts[0])
            if lasts[0] == at_end:
                continue
            firsts, lasts = firsts[1:], lasts[1:]
        if rest is not None:
            tally.records += 1
            yield rest.close(source)
            rest = None
        if len(lasts) and lasts[-1] == at_end:
            rest = _Stretch(item.number + int(firsts[-1]))
            rest.add_lines(item, firsts[-1], lasts[-1])
            firsts, lasts = firsts[:-1], lasts[:-1]
        tally.records += len(firsts)
        yield _block_of_runs(item, firsts, lasts, overhead, source)
    if rest is not None:
        tally.records += 1
        yield rest.close(source)


def _runs(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last number of each unbroken run in a mask, (n,) bool."""
    padded = np.concatenate(([False], wanted, [False]))
    return np.flatnonzero(padded[1:] & ~padded[:-1]), np.flatnonzero(padded[:-1] & ~padded[1:]) - 1


def _block_of_runs(
    item: Lines, firsts: np.ndarray, lasts: np.ndarray, overhead: int, source: SourceFile
) -> Block:
    begins = item.begins[firsts]
    nexts = item.nexts[lasts]
    long = np.flatnonzero(item.ends[lasts] - begins > limits.LONGEST_RECORD)
    aside = [
        too_long(
            item.number + int(firsts[n]),
            int(nexts[n] - begins[n]),
            beginning(item.data, int(begins[n]), int(nexts[n])),
        )
        for n in long.tolist()
    ]
    short = np.delete(np.arange(len(firsts)), long)
    block = sift(
        item.data,
        begins[short],
        item.ends[lasts[short]],
        firsts[short] + item.number,
        (nexts - begins)[short],
        source=source,
        overhead=overhead,
    )
    aside = sorted((*aside, *block.set_aside), key=lambda fault: fault.line)
    return replace(block, set_aside=tuple(aside))
