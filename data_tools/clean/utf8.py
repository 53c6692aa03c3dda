"""Characters of UTF-8 for the compiled loops of this folder.

Blocks hold valid UTF-8 only, so nothing is checked. numba's cache sees a change of the file that
holds a loop, not of this one: who edits here removes the `__pycache__` beside it.
"""

from __future__ import annotations

import numba
import numpy as np

_U = np.uint32


@numba.njit(cache=True, inline="always")
def character_at(data: np.ndarray, at: int) -> tuple[np.uint32, int]:
    """Return the code point that begins at byte `at` of `data`, and the place behind it."""
    first = _U(data[at])
    if first < 0x80:
        return first, at + 1
    second = _U(data[at + 1] & 0x3F)
    if first < 0xE0:
        return _U((first & 0x1F) << 6 | second), at + 2
    third = _U(data[at + 2] & 0x3F)
    if first < 0xF0:
        return _U((first & 0x0F) << 12 | second << 6 | third), at + 3
    fourth = _U(data[at + 3] & 0x3F)
    return _U((first & 0x07) << 18 | second << 12 | third << 6 | fourth), at + 4


@numba.njit(cache=True, inline="always")
def is_blank(code: int) -> bool:
    """Tell whether a code point is white space, as `str.isspace` does."""
    if code <= 0x20:
        return code == 0x20 or 0x09 <= code <= 0x0D or 0x1C <= code <= 0x1F
    if code < 0x1680:
        return code == 0x85 or code == 0xA0
    return (
        code == 0x3000
        or 0x2000 <= code <= 0x200A
        or code == 0x2028
        or code == 0x2029
        or code == 0x202F
        or code == 0x205F
        or code == 0x1680
    )
