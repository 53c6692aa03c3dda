"""Decoding UTF-8, one code point at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpt2zh.text.kernels.compiled import compiled

POINTS = 1 << 21
"""Length of a table by code point that no four bytes, valid or not, can leave."""
PAGE_BITS = 4
"""Tables by code point are filled in pages of this many bits."""


@compiled
def decode(data: np.ndarray, at: int, end: int) -> tuple[int, int]:
    """Return the code point at `at` and the position behind it, which is `end` at most.

    Bytes that are no UTF-8 give some code point below `POINTS`.
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
