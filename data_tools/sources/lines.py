"""Split a stream into lines, many at a time, as spans of a buffer. LF, CRLF and CR end a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_tools.sources import source as limits
from data_tools.sources.faults import copy_start
from data_tools.sources.mark_kernel import CR, LF
from data_tools.sources.window import Window

_WIDE_SPACE = "\u3000".encode()
_BLANK = b" \t"
_BLANK_BYTES = _BLANK + _WIDE_SPACE
_BLANK_FIRST = np.array([0x20, 0x09, _WIDE_SPACE[0]], np.uint8)


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines. Shapes: `n` lines, `s` bytes."""

    data: np.ndarray
    """(s,) uint8."""
    begins: np.ndarray
    """(n,) int64."""
    ends: np.ndarray
    """(n,) int64, before the line end."""
    nexts: np.ndarray
    """(n,) int64, after the line end."""
    number: int
    """Number of the first line, from 1."""
    offset: int
    """Position of `data[0]` in the stream."""

    def find_blank(self) -> np.ndarray:
        """Return for each line, (n,) bool, whether it is empty or holds only white space."""
        blank = self.begins == self.ends
        first = self.data[self.begins[~blank]]
        for number in np.flatnonzero(~blank)[np.isin(first, _BLANK_FIRST)].tolist():
            text = self.data[self.begins[number] : self.ends[number]].tobytes()
            # Strip bytes first, which is fast; what is left of a blank line may be bad UTF-8.
            blank[number] = not (
                text.strip(_BLANK_BYTES) or text.replace(_WIDE_SPACE, b"").strip(_BLANK)
            )
        return blank


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line that is longer than the longest record."""

    start: bytes
    """Its first bytes, enough for an excerpt."""
    size: int
    """Bytes, with the line end."""
    number: int
    """Number of the line, from 1."""


def read_lines(window: Window, line: int) -> Iterator[Lines | LongLine]:
    """Yield the lines of the rest of a stream.

    Args:
        window: At the beginning of a line.
        line: Number of this line, from 1.
    """
    longest = limits.LONGEST_RECORD
    while True:
        lines = split_lines(window, line)
        begins, ends, nexts, offset = lines.begins, lines.ends, lines.nexts, lines.offset
        for first, last in _split_range(ends - begins > longest, limits.BLOCK_DOCUMENTS):
            if ends[first] - begins[first] > longest:
                start = copy_start(window.data, int(begins[first]), int(ends[first]))
                yield LongLine(start, int(nexts[first] - begins[first]), line + first)
            else:
                here = slice(first, last)
                yield Lines(lines.data, begins[here], ends[here], nexts[here], line + first, offset)
        line += len(begins)
        window.begin = int(nexts[-1]) if len(nexts) else window.begin
        if window.is_last:
            return
        if window.end - window.begin > longest + 1:  # the last one may be a CR
            start = copy_start(window.data, window.begin, window.end)
            yield LongLine(start, window.skip_line(), line)
            line += 1
        else:
            window.fill()


def split_lines(window: Window, line: int = 1) -> Lines:
    """Return the complete lines in the window, which begins with the line of this number."""
    data = window.data[window.begin : window.end]
    is_end, is_return = data == LF, data == CR
    two = np.zeros(0, np.int64)
    if is_return.any():
        two = np.flatnonzero(is_return[:-1] & is_end[1:])
        is_end |= is_return
        is_end[two + 1] = False
    ends = np.flatnonzero(is_end)
    nexts = ends + 1
    nexts[np.searchsorted(ends, two)] += 1
    if window.is_last and len(data) and (not len(nexts) or nexts[-1] < len(data)):
        ends, nexts = np.append(ends, len(data)), np.append(nexts, len(data))
    elif not window.is_last and len(nexts) and nexts[-1] == len(data) and is_return[-1]:
        ends, nexts = ends[:-1], nexts[:-1]  # an LF that follows would belong to this line end
    begins = np.concatenate((np.zeros(1, np.int64), nexts))[: len(nexts)]
    at = window.begin
    return Lines(window.data, begins + at, ends + at, nexts + at, line, window.offset)


def _split_range(alone: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of at most `most` lines; a line marked in `alone`, (n,), has its own range."""
    edges = np.flatnonzero(alone)
    cuts = np.unique(np.concatenate((np.arange(0, len(alone), most), edges, edges + 1)))
    bounds = [*cuts[cuts < len(alone)].tolist(), len(alone)]
    yield from pairwise(bounds)
