"""UTF-8 in compiled code: code points, white space, and documents as spans of a buffer.

Shapes: `n` documents, `s` bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpt2zh.text.kernels.compiled import compiled, compiled_with_arrays

POINTS = 1 << 21
"""Length of a table by code point that no four bytes, valid or not, can leave."""
PAGE_BITS = 4
"""Tables by code point are filled in pages of this many bits."""


@compiled
def decode(data: np.ndarray, at: int, end: int) -> tuple[int, int]:
    """Return the code point at `at` and the position behind it, which is `end` at most.

    Bytes that are not valid UTF-8 give some code point below `POINTS`.
    """
    first: Any = np.int64(data[at])
    if first < 0x80:
        return first, at + 1
    if first >= 0xE0:
        if first < 0xF0 and at + 3 <= end:
            point = (first & 0x0F) << 12 | np.int64(data[at + 1] & 0x3F) << 6
            return point | np.int64(data[at + 2] & 0x3F), at + 3
        if at + 4 <= end:
            point = (first & 0x07) << 18 | np.int64(data[at + 1] & 0x3F) << 12
            point |= np.int64(data[at + 2] & 0x3F) << 6
            return point | np.int64(data[at + 3] & 0x3F), at + 4
    elif at + 2 <= end:
        return (first & 0x1F) << 6 | np.int64(data[at + 1] & 0x3F), at + 2
    return 0xFFFD, end


@compiled
def is_blank(point: int) -> bool:
    """Return whether a code point is white space, as `str.isspace` does."""
    if point <= 0x20:
        return point == 0x20 or 0x09 <= point <= 0x0D or 0x1C <= point <= 0x1F
    if point < 0x1680:
        return point == 0x85 or point == 0xA0
    return (
        point == 0x3000
        or 0x2000 <= point <= 0x200A
        or point == 0x2028
        or point == 0x2029
        or point == 0x202F
        or point == 0x205F
        or point == 0x1680
    )


@compiled_with_arrays
def blank_documents(data: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return which documents are empty or hold nothing but white space, (n,) bool.

    Args:
        data: (s,) uint8, UTF-8.
        begins: (n,) int64.
        ends: (n,) int64.
    """
    blank = np.ones(len(begins), np.bool_)
    for document in range(len(begins)):
        at = begins[document]
        while at < ends[document]:
            point, at = decode(data, at, ends[document])
            if not is_blank(point):
                blank[document] = False
                break
    return blank


@compiled_with_arrays
def count_characters(data: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Count the code points of each document, (n,) int64: all bytes but continuation bytes.

    Args:
        data: (s,) uint8, UTF-8.
        begins: (n,) int64.
        ends: (n,) int64.
    """
    counts = np.zeros(len(begins), np.int64)
    for document in range(len(begins)):
        count = 0
        for byte in data[begins[document] : ends[document]]:  # by index LLVM makes no SIMD of it
            count += (byte & 0xC0) != 0x80
        counts[document] = count
    return counts
