"""The pieces of the builtin tokenizer's pattern, over bytes.

`PATTERN` is what `piece_end` does by hand, alternative by alternative. Which characters a class
holds is no business of this module: a table by code point tells.
"""

from __future__ import annotations

import numpy as np

from gpt2zh.text.kernels.compiled import compiled
from gpt2zh.text.kernels.utf8 import decode

CLASSES = {
    "han": r"\p{Han}",
    "letter": r"[[\p{L}\p{M}]&&[^\p{Han}]]",
    "number": r"\p{N}",
    "other": r"[^\s\p{L}\p{M}\p{N}]",
    "space": r"\s",
    "newline": r"[\r\n]",
}
"""Expressions of the classes; the table has bit i for class i. Some characters are in several."""

PATTERN = (
    "{han}+| ?{letter}+|{number}{{1,4}}| ?{other}+{newline}*"
    r"|{space}*{newline}+|{space}+(?!\S)|{space}+"
).format(**CLASSES)

_HAN, _LETTER, _NUMBER, _OTHER, _SPACE, _NEWLINE = (1 << bit for bit in range(6))
PROBED = 1 << 6
"""Is set for every code point whose classes are known."""
CLASS_BITS = 8
"""The lowest bits of the table's numbers; what is above is not for this module."""

_ANY_NUMBER = 1 << 62


@compiled
def piece_end(data: np.ndarray, at: int, end: int, table: np.ndarray) -> tuple[int, int]:
    """Return the end of the piece that begins at `at`.

    Args:
        data: (s,) uint8.
        at: Below `end`.
        end: Of the document.
        table: (POINTS,) uint32.

    Returns:
        The end, and -1; or any number, and a code point whose classes are needed first.
    """
    point, after = decode(data, at, end)
    kind = table[point]
    if not kind & PROBED:
        return at, point
    if kind & _HAN:
        return _pass_over(data, after, end, table, _HAN, _ANY_NUMBER)
    if point == 0x20 and after < end:
        # Two alternatives may begin with a space.
        point, after = decode(data, after, end)
        if not table[point] & PROBED:
            return at, point
        kind |= table[point] & (_LETTER | _OTHER)
    if kind & _LETTER:
        return _pass_over(data, after, end, table, _LETTER, _ANY_NUMBER)
    if kind & _NUMBER:
        return _pass_over(data, after, end, table, _NUMBER, 3)
    if kind & _OTHER:
        stop, unprobed = _pass_over(data, after, end, table, _OTHER, _ANY_NUMBER)
        if unprobed >= 0:
            return stop, unprobed
        return _pass_over(data, stop, end, table, _NEWLINE, _ANY_NUMBER)
    return _space_end(data, at, end, table)


@compiled
def _pass_over(
    data: np.ndarray, at: int, end: int, table: np.ndarray, kind: int, most: int
) -> tuple[int, int]:
    """Return the end of at most `most` characters of a kind, and an unprobed one or -1."""
    while at < end and most > 0:
        point, after = decode(data, at, end)
        if not table[point] & kind:
            if not table[point] & PROBED:
                return at, point
            break
        at = after
        most -= 1
    return at, -1


@compiled
def _space_end(data: np.ndarray, at: int, end: int, table: np.ndarray) -> tuple[int, int]:
    """Return the end of a piece of spaces: behind the last line break or before the last space.

    The last one is left to the word that follows, unless none follows or it is the only one.
    """
    begin, last, newline = at, at, at
    while at < end:
        point, after = decode(data, at, end)
        kind = table[point]
        if not kind & PROBED:
            return at, point
        if not kind & _SPACE:
            break
        last, at = at, after
        if kind & _NEWLINE:
            newline = after
    if newline > begin:
        return newline, -1
    if at == end or last == begin:
        return at, -1
    return last, -1
