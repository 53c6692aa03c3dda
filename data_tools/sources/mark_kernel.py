"""Find the next quote, delimiter or line end in a buffer, eight bytes at a time.

A line ends with LF, CRLF or CR.
"""

from __future__ import annotations

import numpy as np

from gpt2zh.text.kernels.compiled import compiled

LF, CR = 10, 13

_ZERO, _ONE, _EIGHT = np.uint64(0), np.uint64(1), np.uint64(8)
_BYTE = np.uint64(0xFF)
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)


@compiled
def _eight_bytes(data, at):  # type: ignore[no-untyped-def]
    """Return data[at : at + 8] as one number; LLVM compiles this to a single load."""
    word = np.uint64(data[at])
    for ahead in range(1, 8):
        word |= np.uint64(data[at + np.uint64(ahead)]) << np.uint64(8 * ahead)
    return word


@compiled
def _mark_zeros(word):  # type: ignore[no-untyped-def]
    """Return a number whose lowest byte that is not 0 is the lowest byte of `word` that is 0."""
    return (word - _ONES) & ~word & _HIGHS


@compiled
def find_mark(data, begin, stop, mark):  # type: ignore[no-untyped-def]
    """Return the position of the next `mark`, LF or CR in data[begin:stop]; else `stop`."""
    at, last = np.uint64(begin), np.uint64(stop)
    marks, feeds, returns = np.uint64(mark) * _ONES, np.uint64(LF) * _ONES, np.uint64(CR) * _ONES
    while at + _EIGHT <= last:
        word = _eight_bytes(data, at)
        hits = _mark_zeros(word ^ marks) | _mark_zeros(word ^ feeds) | _mark_zeros(word ^ returns)
        if hits != _ZERO:
            while hits & _BYTE == _ZERO:
                hits >>= _EIGHT
                at += _ONE
            return np.int64(at)
        at += _EIGHT
    while at < last:
        byte = data[at]
        if byte in (mark, LF, CR):
            break
        at += _ONE
    return np.int64(at)


@compiled
def skip_line_end(data, at, end, is_last):  # type: ignore[no-untyped-def]
    """Return the byte after the line end at `at`; -1 if that depends on bytes not read yet."""
    if data[at] == LF:
        return at + 1
    if at + 1 < end:
        return at + 2 if data[at + 1] == LF else at + 1
    return at + 1 if is_last else -1
