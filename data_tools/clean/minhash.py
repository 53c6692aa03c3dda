"""Compiled MinHash signatures of documents: equal to those of datasketch, about 50 times as fast.

A document is the set of its shingles: all runs of `SHINGLE` characters, without white space. A
shorter document is one shingle. A shingle is hashed with XXH32 of its UTF-32-LE, then permuted as
datasketch's scheme "affine32" does. The result depends neither on the version of a library nor on
the machine.
Shapes: `n` documents, `s` bytes, `p` permutations.
"""

from __future__ import annotations

import numpy as np

from gpt2zh.text.kernels.compiled import compiled, compiled_with_arrays
from gpt2zh.text.kernels.utf8 import decode, is_blank

SHINGLE = 5
"""Characters of a shingle."""

_U = np.uint32
_PRIME_1, _PRIME_2, _PRIME_3 = _U(2654435761), _U(2246822519), _U(3266489917)
_PRIME_4, _PRIME_5 = _U(668265263), _U(374761393)
_GOLDEN = _U(2654435769)


@compiled_with_arrays
def signatures(
    data: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    factors: np.ndarray,
    summands: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest permuted hash over each document's shingles.

    Args:
        data: (s,) uint8, UTF-8.
        begins: (n,) int64.
        ends: (n,) int64.
        factors: (p,) uint32, odd.
        summands: (p,) uint32.

    Returns:
        (n, p) uint32, and (n,) int64, the number of shingles with repeated ones; where it is 0, the
        hashes mean nothing.
    """
    smallest = np.full((len(begins), len(factors)), _U(0xFFFFFFFF), np.uint32)
    shingles = np.zeros(len(begins), np.int64)
    window = np.zeros(SHINGLE, np.uint32)
    for document in range(len(begins)):
        row = smallest[document]
        at, filled = begins[document], 0
        while at < ends[document]:
            point, at = decode(data, at, ends[document])
            if is_blank(point):
                continue
            if filled == SHINGLE:
                for place in range(SHINGLE - 1):
                    window[place] = window[place + 1]
                filled -= 1
            window[filled] = point
            filled += 1
            if filled == SHINGLE:
                _take(row, _premixed(_xxh32(window, SHINGLE)), factors, summands)
                shingles[document] += 1
        if 0 < filled < SHINGLE:
            _take(row, _premixed(_xxh32(window, filled)), factors, summands)
            shingles[document] = 1
    return smallest, shingles


@compiled_with_arrays
def compact(smallest: np.ndarray) -> np.ndarray:
    """Return one byte of each value of signatures, (n, p) uint8.

    Different values have the same byte once in 256 times; whoever compares bytes reckons with that.

    Args:
        smallest: (n, p) uint32, from `signatures`.
    """
    made = np.empty(smallest.shape, np.uint8)
    for document in range(smallest.shape[0]):
        for place in range(smallest.shape[1]):
            made[document, place] = _U(smallest[document, place] * _GOLDEN) >> _U(24)
    return made


@compiled_with_arrays
def band_keys(signed: np.ndarray, band: int, rows: int) -> np.ndarray:
    """Hash one run of `rows` values of each signature into a key, (n,) uint64.

    Args:
        signed: (n, p) uint8, from `compact`.
        band: Number of the run.
        rows: Values behind a key.
    """
    keys = np.empty(len(signed), np.uint64)
    for document in range(len(signed)):
        key = np.uint64(0x9E3779B97F4A7C15)
        for place in range(band * rows, (band + 1) * rows):
            key = (key ^ np.uint64(signed[document, place])) * np.uint64(0xFF51AFD7ED558CCD)
            key ^= key >> np.uint64(33)
        key *= np.uint64(0xC4CEB9FE1A85EC53)
        keys[document] = key ^ key >> np.uint64(33)
    return keys


@compiled_with_arrays
def shingle_hashes(data: np.ndarray, begin: int, end: int) -> np.ndarray:
    """Return the hashes of a document's shingles, (shingles,) uint64, rising, each once.

    With 64 bits two of a million shingles are equal by chance once in 30 million documents.

    Args:
        data: (s,) uint8, UTF-8.
        begin: First byte of the document.
        end: One past its last byte.
    """
    hashes = np.empty(max(end - begin, 1), np.uint64)
    points = np.zeros(SHINGLE, np.uint64)
    count = signs = 0
    while begin < end:
        point, begin = decode(data, begin, end)
        if is_blank(point):
            continue
        for place in range(SHINGLE - 1):
            points[place] = points[place + 1]
        points[SHINGLE - 1] = np.uint64(point)
        signs += 1
        if signs >= SHINGLE:
            hashes[count] = _mixed(points)
            count += 1
    if 0 < signs < SHINGLE:  # what the window does not hold is 0, which no text has
        hashes[count] = _mixed(points)
        count += 1
    return _each_once(np.sort(hashes[:count]))


@compiled
def _take(row: np.ndarray, value: np.uint32, factors: np.ndarray, summands: np.ndarray) -> None:
    for place in range(len(row)):
        row[place] = min(row[place], _U(_U(factors[place] * value) + summands[place]))


@compiled
def _rotate(value: np.uint32, bits: int) -> np.uint32:
    return _U(value << _U(bits)) | _U(value >> _U(32 - bits))


@compiled
def _round(lane: np.uint32, word: np.uint32) -> np.uint32:
    return _U(_rotate(_U(lane + _U(word * _PRIME_2)), 13) * _PRIME_1)


@compiled
def _xxh32(words: np.ndarray, count: int) -> np.uint32:
    """Hash the first 1 to 7 of `words`, with seed 0."""
    done = 0
    if count >= 4:
        lane_1 = _rotate(_round(_U(_PRIME_1 + _PRIME_2), words[0]), 1)
        lane_2 = _rotate(_round(_PRIME_2, words[1]), 7)
        lane_3 = _rotate(_round(_U(0), words[2]), 12)
        lane_4 = _rotate(_round(_U(_U(0) - _PRIME_1), words[3]), 18)
        value = _U(_U(lane_1 + lane_2) + _U(lane_3 + lane_4))
        done = 4
    else:
        value = _PRIME_5
    value = _U(value + _U(4 * count))
    for at in range(done, count):
        value = _U(_rotate(_U(value + _U(words[at] * _PRIME_3)), 17) * _PRIME_4)
    value = _U(_U(value ^ value >> _U(15)) * _PRIME_2)
    value = _U(_U(value ^ value >> _U(13)) * _PRIME_3)
    return _U(value ^ value >> _U(16))


@compiled
def _premixed(value: np.uint32) -> np.uint32:
    """Mix a hash as datasketch does before it permutes: MurmurHash3's last steps."""
    value = _U(_U(value ^ value >> _U(16)) * _U(0x85EBCA6B))
    value = _U(_U(value ^ value >> _U(13)) * _U(0xC2B2AE35))
    return _U(value ^ value >> _U(16))


@compiled
def _mixed(points: np.ndarray) -> np.uint64:
    key = np.uint64(0x9E3779B97F4A7C15)
    for point in points:
        key = (key ^ point) * np.uint64(0xFF51AFD7ED558CCD)
        key ^= key >> np.uint64(32)
    return key


@compiled_with_arrays
def _each_once(values: np.ndarray) -> np.ndarray:
    """Move each of the rising values to the front once, and return these."""
    count = min(1, len(values))
    for place in range(1, len(values)):
        if values[place] != values[place - 1]:
            values[count] = values[place]
            count += 1
    return values[:count]
