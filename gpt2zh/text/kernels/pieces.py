"""Split UTF-8 bytes into the pieces of the builtin tokenizer's pattern, compiled.

`find_piece_end` does the same as the regular expression `PATTERN`, one alternative after the other.
A table by code point says which classes a character belongs to; others fill it.
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
"""Expressions of the classes. The table has bit i for class i; a character may have several."""

PATTERN = (
    "{han}+| ?{letter}+|{number}{{1,4}}| ?{other}+{newline}*"
    r"|{space}*{newline}+|{space}+(?!\S)|{space}+"
).format(**CLASSES)

_HAN, _LETTER, _NUMBER, _OTHER, _SPACE, _NEWLINE = (1 << bit for bit in range(6))
PROBED = 1 << 6
"""The bit that is set for every code point whose classes are known."""
CLASS_BITS = 8
"""Number of the lowest bits of a table entry that this module reads."""

_ANY_NUMBER = 1 << 62


@compiled
def find_piece_end(data: np.ndarray, at: int, end: int, table: np.ndarray) -> tuple[int, int]:
    """Return the end of the piece that begins at `at`.

    Args:
        data: (s,) uint8.
        at: Less than `end`.
        end: End of the document.
        table: (POINTS,) uint32.

    Returns:
        The end and -1; or any number and a code point whose classes are needed first.
    """
    point, after = decode(data, at, end)
    kind = table[point]
    if not kind & PROBED:
        return at, point
    if kind & _HAN:
        return _skip_kind(data, after, end, table, _HAN, _ANY_NUMBER)
    if point == 0x20 and after < end:
        # Two alternatives may begin with a space.
        point, after = decode(data, after, end)
        if not table[point] & PROBED:
            return at, point
        kind |= table[point] & (_LETTER | _OTHER)
    if kind & _LETTER:
        return _skip_kind(data, after, end, table, _LETTER, _ANY_NUMBER)
    if kind & _NUMBER:
        return _skip_kind(data, after, end, table, _NUMBER, 3)
    if kind & _OTHER:
        stop, unprobed = _skip_kind(data, after, end, table, _OTHER, _ANY_NUMBER)
        if unprobed >= 0:
            return stop, unprobed
        return _skip_kind(data, stop, end, table, _NEWLINE, _ANY_NUMBER)
    return _find_space_end(data, at, end, table)


@compiled
def _skip_kind(
    data: np.ndarray, at: int, end: int, table: np.ndarray, kind: int, most: int
) -> tuple[int, int]:
    """Return the end of at most `most` characters of a kind; and an unprobed code point, or -1."""
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
def _find_space_end(data: np.ndarray, at: int, end: int, table: np.ndarray) -> tuple[int, int]:
    """Return the end of a piece of spaces: after the last line break, or before the last space.

    The last space belongs to the word that follows. If no word follows, or if it is the only space,
    it belongs to this piece. See `find_piece_end` for the second result.
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
