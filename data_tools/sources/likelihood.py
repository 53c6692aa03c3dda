"""Judge how likely a text is, to find the encoding in which bytes read as text.

Bytes in a wrong encoding often decode without an error: UTF-8 read as GB18030 becomes rare hanzi,
and two hanzi of GB18030 may become two Cyrillic letters of UTF-8. So the readings are compared by
their cost, an estimate of -log2 of the probability of each character in a Chinese corpus. The
difference of two costs is the evidence for one of the readings, in bits. The classes are coarse on
purpose: they separate text from garbage, not one style from another.
"""

from __future__ import annotations

from functools import cache

import numpy as np

_ASCII = 6.0
_USUAL_SIGN = 9.0
_COMMON_HANZI = 12.0
_KNOWN_HANZI = 17.0
_RARE_HANZI = 21.0
_KANA = 14.0
_LETTER = 24.0
_ACCENTED = 11.5  # a letter of Latin-1 may stand alone, so it costs less than a hanzi
_LETTER_IN_WORD = 7.0
_ODD = 26.0  # control characters, private use, unassigned
_BAD = 30.0  # a byte that is not valid
_NEXT_TO_LATIN = 10.0  # a hanzi directly next to a lowercase Latin letter

_SIGNS = ((0x2010, 0x2027), (0x25A0, 0x25FF), (0x3000, 0x303F), (0xFF01, 0xFF65))
_MORE_SIGNS = "\u00a0\u00a7\u00a9\u00ae\u00b0\u00b1\u00b7\u00d7\u00f7\u2103\u2191\u2192\u203b\ufeff"
_FIRST_HANZI, _LAST_HANZI = 0x4E00, 0x9FFF


@cache
def _bits() -> np.ndarray:
    """Return the cost of each character of the basic plane on its own, (65536,) float32."""
    bits = np.full(0x10000, _LETTER, np.float32)
    bits[:0x80] = _ODD
    bits[0x20:0x7F] = _ASCII
    bits[[9, 10, 13]] = _ASCII
    bits[0x80:0xA0] = _ODD
    bits[0xC0:0x100] = _ACCENTED
    bits[0x3400 : _LAST_HANZI + 1] = _RARE_HANZI
    bits[0x3040:0x3100] = _KANA
    bits[0xD800:0xE000] = _BAD
    bits[0xE000:0xF900] = _ODD
    bits[0xFFF0:] = _ODD
    bits[0xFFFD] = _BAD
    bits[0xFFFF] = _RARE_HANZI  # stands for every character beyond the basic plane
    for begin, end in _SIGNS:
        bits[begin : end + 1] = _USUAL_SIGN
    bits[[ord(sign) for sign in _MORE_SIGNS]] = _USUAL_SIGN
    # Both standards list their common hanzi first, and the others in a second level.
    for codec, common, known in (("gb2312", 0xB0, 0xD8), ("big5", 0xA4, 0xC9)):
        for lead in range(common, 0xFA):
            for trail in range(0x40, 0xFF):
                text = bytes((lead, trail)).decode(codec, "ignore")
                if len(text) == 1 and _FIRST_HANZI <= ord(text) <= _LAST_HANZI:
                    cost = _COMMON_HANZI if lead < known else _KNOWN_HANZI
                    bits[ord(text)] = min(bits[ord(text)], cost)
    return bits


@cache
def _rare() -> np.ndarray:
    """Return which characters of the basic plane are neither ASCII nor usual, (65536,) bool."""
    rare = _bits() > _COMMON_HANZI
    rare[:0x80] = False
    return rare


def is_rare(codes: np.ndarray) -> np.ndarray:
    """Return which characters are neither ASCII nor usual in Chinese, (n,) bool; see `costs`."""
    return _rare().take(codes, mode="clip")


def code_points(text: str) -> np.ndarray:
    """Return the characters of a text as numbers, (n,) uint32; lone surrogates are kept."""
    # NumPy copies the characters as they are; a codec would handle each surrogate in Python.
    return np.array([text]).view(np.uint32) if text else np.empty(0, np.uint32)


def costs(codes: np.ndarray) -> np.ndarray:
    """Return the cost of each character in bits, (n,) float32.

    Args:
        codes: (n,) uint32, from `code_points`. A lone surrogate stands for a bad byte.
    """
    bits = _bits().take(codes, mode="clip")
    is_lower = (codes >= ord("a")) & (codes <= ord("z"))
    is_letter = (bits == _LETTER) | (bits == _ACCENTED)
    # Hanzi are not inflected: a true one stands alone or next to other hanzi.
    if is_lower.any():
        bits[_touches_latin(codes, is_lower)] += _NEXT_TO_LATIN
    # Letters beyond ASCII come as words of one script.
    if is_letter.any():
        is_latin = is_lower | ((codes >= 0xC0) & (codes < 0x250))
        is_latin |= (codes >= ord("A")) & (codes <= ord("Z"))
        script = np.where(is_latin, 0, np.where(codes < 0x80, 1, codes >> 7))
        follows = np.zeros(len(codes), bool)
        follows[1:] = script[1:] == script[:-1]
        follows[:-1] |= is_latin[:-1] & is_lower[1:]
        bits[is_letter & follows] = _LETTER_IN_WORD
    return bits


def _touches_latin(codes: np.ndarray, is_lower: np.ndarray) -> np.ndarray:
    """Return which characters are hanzi directly next to a lowercase Latin letter, (n,) bool."""
    near = np.zeros(len(codes), bool)
    near[1:] = is_lower[:-1]
    near[:-1] |= is_lower[1:]
    return near & (codes >= _FIRST_HANZI) & (codes <= _LAST_HANZI)


def cost(text: str) -> float:
    """Return the cost of a text in bits; see `costs`."""
    return float(costs(code_points(text)).sum())


def share_common(text: str) -> float:
    """Return how many of the characters beyond ASCII are usual in Chinese, from 0 to 1.

    For a text of ASCII alone return how many characters are printable.
    """
    codes = code_points(text)
    usual = _bits().take(codes, mode="clip") <= _COMMON_HANZI
    beyond = codes >= 0x80
    if not beyond.any():
        return float(usual.mean()) if len(codes) else 0.0
    is_lower = (codes >= ord("a")) & (codes <= ord("z"))
    return float((usual & ~_touches_latin(codes, is_lower))[beyond].mean())
