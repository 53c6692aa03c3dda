"""Read text files as blocks: a document is the file, a line, or a block of lines.

A block of lines is what stands between blank lines. In this file it is called a paragraph. What is
too long for one document is read in the next smaller unit: a file as paragraphs, or as lines if it
begins without a blank line; a paragraph as lines. Line ends become LF, as editors show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.block import Block, join_spans, make_empty_block
from data_tools.sources.faults import describe_too_long, set_bad_aside
from data_tools.sources.lines import Lines, LongLine, read_lines, split_lines
from data_tools.sources.mark_kernel import CR, LF
from data_tools.sources.options import InputConfig
from data_tools.sources.source import RecordCount, Slice, SourceFile
from data_tools.sources.stream import ByteStream
from data_tools.sources.window import Window

Unit = Literal["file", "line", "block"]
"""What one document is, as in the option `text_documents`."""

_Finish = Callable[[Block], Block]
"""Sets records aside that are not valid text, and unifies the line ends of the others."""


def read_text(
    stream: ByteStream, source: SourceFile, part: Slice, options: InputConfig, count: RecordCount
) -> Iterator[Block]:
    """Yield the documents of a slice."""
    window = Window(stream)
    overhead = window.skip_mark() if part.begin == 0 else 0
    if overhead:
        yield make_empty_block(overhead=overhead)
    unit: Unit = options.text_documents
    if unit == "file":
        unit = _choose_unit(window) if part.begin == 0 else find_unit(source)

    def finish(block: Block) -> Block:
        block = set_bad_aside(block, source.encoding, options.encoding)
        return block if unit == "line" else _unify_line_ends(block)

    if unit == "file":
        blocks = _read_file(window, finish)
    elif unit == "line":
        blocks = _read_each_line(window, part.line, finish)
    else:
        blocks = _read_paragraphs(window, part.line, finish)
    for block in blocks:
        count.records += len(block) + len(block.set_aside)
        yield block


def find_unit(source: SourceFile) -> Unit:
    """Return what one document of a file is if the option says "file"; see `_choose_unit`."""
    with ByteStream(source, Slice(0, source.bytes, 1)) as stream:
        window = Window(stream)
        window.skip_mark()
        return _choose_unit(window)


def _choose_unit(window: Window) -> Unit:
    """Return "file" if the whole file is short enough for one document.

    Else "block" if there is a blank line in as many bytes as a document may have, else "line".

    Args:
        window: At the beginning of the file; it is filled, but not moved.
    """
    longest = limits.LONGEST_RECORD
    while not window.is_last and window.end - window.begin <= longest:
        window.fill()
    if window.end - window.begin <= longest:
        return "file"
    lines = split_lines(window)
    is_near = lines.nexts <= window.begin + longest
    return "block" if bool((lines.find_blank() & is_near).any()) else "line"


def _read_file(window: Window, finish: _Finish) -> Iterator[Block]:
    """Yield the whole file as one document, or what is between lines that must be set aside."""
    if window.begin == window.end:
        return
    begins, ends, lines, sizes = np.array(
        [[window.begin], [window.end], [1], [window.end - window.begin]]
    )
    block = finish(Block(window.data, begins, ends, lines, sizes))
    if len(block):
        yield block
        return
    lines_of_file = split_lines(window)
    rows = Block(
        window.data,
        lines_of_file.begins,
        lines_of_file.nexts,
        np.arange(len(lines_of_file.begins)) + 1,
        lines_of_file.nexts - lines_of_file.begins,
    )
    yield _join_neighbours(finish(rows))


def _join_neighbours(rows: Block) -> Block:
    """Join documents of consecutive lines; lines that were set aside stand between the results."""
    if not len(rows):
        return rows
    breaks = np.flatnonzero(np.diff(rows.lines) > 1) + 1
    firsts = np.concatenate(([0], breaks))
    lasts = np.concatenate((breaks, [len(rows)])) - 1
    return replace(
        rows,
        begins=rows.begins[firsts],
        ends=rows.ends[lasts],
        lines=rows.lines[firsts],
        sizes=np.add.reduceat(rows.sizes, firsts),
    )


def _read_each_line(window: Window, line: int, finish: _Finish) -> Iterator[Block]:
    """Yield the lines that are not blank."""
    for item in read_lines(window, line):
        if isinstance(item, LongLine):
            yield make_empty_block(describe_too_long(item.number, item.size, item.start))
            continue
        blank = item.find_blank()
        kept = np.flatnonzero(~blank)
        overhead = int((item.nexts - item.begins)[blank].sum())
        yield finish(_make_block(item, kept, kept, overhead))


@dataclass
class _Paragraph:
    """A paragraph at the edge of a buffer: more lines may follow."""

    line: int
    is_long: bool = False
    """Whether it is too long for a document, so that its lines are documents."""
    size: int = 0
    line_end: int = 0
    """Bytes of the last line end."""
    pieces: list[tuple[Lines, int, int]] = field(default_factory=list)
    """Lines and the first and last of them, as long as it may be a document."""

    def add(self, lines: Lines, first: int, last: int) -> Iterator[Block]:
        """Add the lines from `first` to `last`; yield lines that are documents."""
        self.pieces.append((lines, first, last))
        self.size += int(lines.nexts[last] - lines.begins[first])
        self.line_end = int(lines.nexts[last] - lines.ends[last])
        self.is_long |= self.size - self.line_end > limits.LONGEST_RECORD
        if self.is_long:
            yield from self.release()

    def release(self) -> Iterator[Block]:
        """Yield the lines so far as documents; those that follow will be, too."""
        self.is_long = True
        for lines, first, last in self.pieces:
            numbers = np.arange(first, last + 1)
            yield _make_block(lines, numbers, numbers)
        self.pieces.clear()

    def close(self) -> Iterator[Block]:
        """Yield the paragraph as one document, unless its lines were."""
        if self.pieces:
            parts = (item.data[item.begins[a] : item.nexts[b]] for item, a, b in self.pieces)
            text = b"".join(part.tobytes() for part in parts)
            data, begins, ends = join_spans([text[: len(text) - self.line_end]])
            yield Block(data, begins, ends, np.array([self.line]), np.array([self.size]))


def _read_paragraphs(window: Window, line: int, finish: _Finish) -> Iterator[Block]:
    """Yield the paragraphs. One at the edge of a buffer is put together from its parts."""
    rest: _Paragraph | None = None
    for item in read_lines(window, line):
        if isinstance(item, LongLine):
            rest = rest or _Paragraph(item.number)
            yield from map(finish, rest.release())
            yield make_empty_block(describe_too_long(item.number, item.size, item.start))
            continue
        blank = item.find_blank()
        overhead = int((item.nexts - item.begins)[blank].sum())
        firsts, lasts = _find_runs(~blank)
        at_end = len(item.ends) - 1
        if rest is not None and len(firsts) and firsts[0] == 0:
            yield from map(finish, rest.add(item, 0, int(lasts[0])))
            if lasts[0] == at_end:
                continue
            firsts, lasts = firsts[1:], lasts[1:]
        if rest is not None:
            yield from map(finish, rest.close())
            rest = None
        is_open = len(lasts) > 0 and lasts[-1] == at_end
        whole = slice(0, len(firsts) - is_open)
        yield finish(_make_block(item, *_split_long(item, firsts[whole], lasts[whole]), overhead))
        if is_open:
            rest = _Paragraph(item.number + int(firsts[-1]))
            yield from map(finish, rest.add(item, int(firsts[-1]), at_end))
    if rest is not None:
        yield from map(finish, rest.close())


def _find_runs(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last number of each unbroken run in a mask, (n,) bool."""
    padded = np.concatenate(([False], wanted, [False]))
    return np.flatnonzero(padded[1:] & ~padded[:-1]), np.flatnonzero(padded[:-1] & ~padded[1:]) - 1


def _split_long(
    item: Lines, firsts: np.ndarray, lasts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Replace paragraphs that are too long for a document by their lines, (n,) each."""
    is_long = item.ends[lasts] - item.begins[firsts] > limits.LONGEST_RECORD
    if not is_long.any():
        return firsts, lasts
    spans = [(firsts[~is_long], lasts[~is_long])]
    for first, last in zip(firsts[is_long].tolist(), lasts[is_long].tolist(), strict=True):
        spans.append((np.arange(first, last + 1),) * 2)
    begins, ends = map(np.concatenate, zip(*spans, strict=True))
    order = np.argsort(begins)
    return begins[order], ends[order]


def _make_block(item: Lines, firsts: np.ndarray, lasts: np.ndarray, overhead: int = 0) -> Block:
    """Return documents of consecutive lines, from line `firsts` to line `lasts`, (n,) each."""
    return Block(
        item.data,
        item.begins[firsts],
        item.ends[lasts],
        firsts + item.number,
        item.nexts[lasts] - item.begins[firsts],
        overhead=overhead,
    )


def _unify_line_ends(block: Block) -> Block:
    """Return the block with LF for every CRLF and CR; the sizes stay those of the file."""
    if not len(block):
        return block
    first = block.begins[0]
    data = block.data[first : block.ends[-1]]
    is_return = data == CR
    if not is_return.any():
        return block
    dropped = np.flatnonzero(is_return[:-1] & (data[1:] == LF))
    data = np.delete(np.where(is_return, np.uint8(LF), data), dropped)
    begins, ends = block.begins - first, block.ends - first
    begins -= np.searchsorted(dropped, begins)
    ends -= np.searchsorted(dropped, ends)
    return replace(block, data=data, begins=begins, ends=ends)
