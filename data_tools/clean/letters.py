"""Measure the share of Han characters in documents. Shapes: `n` documents, `s` bytes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gpt2zh.text.kernels.compiled import compiled_with_arrays
from gpt2zh.text.kernels.utf8 import decode

_OTHER, _LETTER, _HAN = 0, 1, 2

_HAN_RANGES = (
    (0x3005, 0x3005),  # the iteration mark
    (0x3007, 0x3007),  # the round zero
    (0x3021, 0x3029),
    (0x3038, 0x303B),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),  # two planes set apart for ideographs, assigned or not
)


def han_shares(data: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the share of Han characters among the letters of each document, (n,) float64.

    Letters are what `str.isalpha` says, and all Han characters. Without letters it is 0.
    """
    return _han_shares(data, begins, ends, _kinds())


@compiled_with_arrays
def _han_shares(
    data: np.ndarray, begins: np.ndarray, ends: np.ndarray, kinds: np.ndarray
) -> np.ndarray:
    shares = np.zeros(len(begins), np.float64)
    for document in range(len(begins)):
        letters, han = 0, 0
        at = begins[document]
        while at < ends[document]:
            point, at = decode(data, at, ends[document])
            kind = kinds[point]
            letters += kind != _OTHER
            han += kind == _HAN
        shares[document] = han / letters if letters else 0.0
    return shares


@lru_cache(maxsize=1)
def _kinds() -> np.ndarray:
    """Return the kind of every code point, (0x110000,) uint8."""
    codes = range(0x110000)
    letters = np.fromiter((chr(code).isalpha() for code in codes), bool, len(codes))
    kinds = np.where(letters, _LETTER, _OTHER).astype(np.uint8)
    for first, last in _HAN_RANGES:
        kinds[first : last + 1] = _HAN
    return kinds
