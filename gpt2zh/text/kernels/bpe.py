"""Byte-pair encoding with byte fallback, compiled, on UTF-8 bytes.

A piece is first cut into segments, between any two characters that are neighbours in no token. A
merge across such a cut would make a token in which they are neighbours, so no such merge exists.
Each segment is therefore merged alone, lowest rank first and leftmost among equals, and the result
is that of the whole piece. A character without a token is a segment of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gpt2zh.text.kernels.compiled import compiled
from gpt2zh.text.kernels.pieces import CLASS_BITS, find_piece_end
from gpt2zh.text.kernels.scan import (
    ASKED,
    AT,
    DOCUMENT,
    DONE,
    FULL,
    LONG,
    OWN,
    PAGE,
    WRITTEN,
    Documents,
)
from gpt2zh.text.kernels.utf8 import PAGE_BITS, decode

LONGEST_SEGMENT = 256
"""Most characters of a segment that is merged here; the time grows with the square."""
SHORTEST_CACHED, LONGEST_CACHED = 3, 16
"""Characters of the segments that are cached; merging a shorter one is as fast as the cache."""

# Columns of `Merges.pairs`.
PAIR, RESULT = 0, 1
NO_PAIR = -1
NO_RESULT = (1 << 63) - 1

_ID_BITS = 32
_ID_MASK = (1 << _ID_BITS) - 1
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_FOLD = np.uint64(29)


class Merges(NamedTuple):
    """The merges of a vocabulary, with tokens as ids."""

    pairs: np.ndarray
    """(power of two, 2) int64, a hash table: first << 32 | second, and rank << 32 | merged."""
    neighbours: np.ndarray
    """(power of two,) uint8, hashed bits: whether two characters may be neighbours in a token.
    If two pairs share a bit, a cut is missed, but the ids stay correct."""
    of_bytes: np.ndarray
    """(256,) int64, the tokens of the bytes."""


class SegmentCache(NamedTuple):
    """The ids of recent segments, each at the place that its hash gives."""

    segments: np.ndarray
    """(power of two, LONGEST_CACHED) int32."""
    ids: np.ndarray
    """The same shape, int32."""
    lengths: np.ndarray
    """(power of two, 2) int32, length of the segment and number of its ids."""


class Scratch(NamedTuple):
    """Work space for one segment."""

    symbols: np.ndarray
    """(LONGEST_SEGMENT,) int64."""
    results: np.ndarray
    """(LONGEST_SEGMENT,) int64, the result of merging each symbol with the next one."""


@compiled
def scan_bpe(
    documents: Documents, table: np.ndarray, merges: Merges, cache: SegmentCache, scratch: Scratch
) -> int:
    """Encode documents from the position in `documents.state` on; see the module `scan`.

    Args:
        documents: Changed. `state[OWN]` is the end of the piece that is being encoded.
        table: (POINTS,) uint32 by code point: id + 1 (0 for no token) shifted by CLASS_BITS, and
            the classes.
        merges: Read only.
        cache: Changed.
        scratch: Changed.

    Returns:
        A status. LONG asks for the segment from `state[AT]` to `state[ASKED]`.
    """
    state, closing = documents.state, documents.closing
    while state[DOCUMENT] < documents.begins.size:
        document = state[DOCUMENT]
        status = _scan_document(documents, documents.ends[document], table, merges, cache, scratch)
        if status != DONE:
            return status
        if state[WRITTEN] + closing.size > documents.out.size:
            return FULL
        for number in range(closing.size):
            documents.out[state[WRITTEN] + number] = closing[number]
        state[WRITTEN] += closing.size
        documents.stops[document] = state[WRITTEN]
        state[DOCUMENT] = document + 1
        state[OWN] = 0
        if document + 1 < documents.begins.size:
            state[AT] = documents.begins[document + 1]
    return DONE


@compiled
def _scan_document(
    documents: Documents,
    end: int,
    table: np.ndarray,
    merges: Merges,
    cache: SegmentCache,
    scratch: Scratch,
) -> int:
    data, out, state = documents.data, documents.out, documents.state
    at, written, piece = state[AT], state[WRITTEN], state[OWN]
    status = DONE
    while at < end:
        if at >= piece:
            piece, unprobed = find_piece_end(data, at, end, table)
            if unprobed >= 0:
                state[ASKED] = unprobed >> PAGE_BITS
                piece = 0
                status = PAGE
                break
        stop, length, digest = _scan_segment(data, at, piece, table, merges, scratch)
        if written + max(length, stop - at) > out.size:
            status = FULL
            break
        if length == 1:
            out[written] = scratch.symbols[0]
            written += 1
        elif length == 0:
            for number in range(at, stop):
                out[written] = merges.of_bytes[data[number]]
                written += 1
        elif length > LONGEST_SEGMENT:
            state[ASKED] = stop
            status = LONG
            break
        elif SHORTEST_CACHED <= length <= LONGEST_CACHED:
            place = np.int64(digest) & (cache.segments.shape[0] - 1)
            if not _is_cached(cache, place, length, scratch):
                _store(cache, place, length, merges, scratch)
            for number in range(cache.lengths[place, 1]):
                out[written] = cache.ids[place, number]
                written += 1
        else:
            for number in range(_merge(length, merges, scratch)):
                out[written] = scratch.symbols[number]
                written += 1
        at = stop
    state[AT], state[WRITTEN], state[OWN] = at, written, piece
    return status


@compiled
def _scan_segment(
    data: np.ndarray,
    at: int,
    piece: int,
    table: np.ndarray,
    merges: Merges,
    scratch: Scratch,
) -> tuple[int, int, np.uint64]:
    """Write the symbols of the segment at `at` to `scratch`; return its end, length and hash.

    The length is in characters; it is 0 for a character without a token. If the segment is too
    long, only its first symbols are written.
    """
    point, at = decode(data, at, piece)
    last = np.uint64(table[point] >> CLASS_BITS)
    digest = last
    if last == 0:
        return at, 0, digest
    scratch.symbols[0] = np.int64(last) - 1
    length = 1
    while at < piece:
        point, after = decode(data, at, piece)
        symbol = np.uint64(table[point] >> CLASS_BITS)
        if symbol == 0 or not _may_touch(merges.neighbours, last, symbol):
            break
        if length < LONGEST_SEGMENT:
            scratch.symbols[length] = np.int64(symbol) - 1
        digest = (digest ^ symbol) * _PRIME
        digest ^= digest >> _FOLD
        length += 1
        last, at = symbol, after
    return at, length, digest


@compiled
def _merge(length: int, merges: Merges, scratch: Scratch) -> int:
    """Merge the first `length` symbols of `scratch`; return the number of symbols left."""
    symbols, results = scratch.symbols, scratch.results
    for number in range(length - 1):
        results[number] = _find_pair(merges.pairs, symbols[number], symbols[number + 1])
    while length > 1:
        best = 0
        for number in range(1, length - 1):
            if results[number] < results[best]:
                best = number
        if results[best] == NO_RESULT:
            break
        symbols[best] = results[best] & _ID_MASK
        length -= 1
        for number in range(best + 1, length):
            symbols[number] = symbols[number + 1]
            results[number - 1] = results[number]
        if best > 0:
            results[best - 1] = _find_pair(merges.pairs, symbols[best - 1], symbols[best])
        if best < length - 1:
            results[best] = _find_pair(merges.pairs, symbols[best], symbols[best + 1])
    return length


@compiled
def _find_pair(pairs: np.ndarray, first: int, second: int) -> int:
    """Return rank << 32 | id of the merge of two symbols, or NO_RESULT."""
    pair = first << _ID_BITS | second
    mask = pairs.shape[0] - 1
    place = _hash_pair(pair, mask)
    while pairs[place, PAIR] != pair:
        if pairs[place, PAIR] == NO_PAIR:
            return NO_RESULT
        place = (place + 1) & mask
    return pairs[place, RESULT]


@compiled
def _is_cached(cache: SegmentCache, place: int, length: int, scratch: Scratch) -> bool:
    if cache.lengths[place, 0] != length:
        return False
    same = 0
    while same < length and cache.segments[place, same] == scratch.symbols[same]:
        same += 1
    return same == length


@compiled
def _store(cache: SegmentCache, place: int, length: int, merges: Merges, scratch: Scratch) -> None:
    """Merge the segment in `scratch`, and store it in the cache."""
    for number in range(length):
        cache.segments[place, number] = scratch.symbols[number]
    merged = _merge(length, merges, scratch)
    for number in range(merged):
        cache.ids[place, number] = scratch.symbols[number]
    cache.lengths[place, 0] = length
    cache.lengths[place, 1] = merged


@compiled
def _hash_pair(pair: int, mask: int) -> int:
    """Return the place where the search for a pair begins."""
    place: Any = np.int64((np.uint64(pair) * _PRIME) >> np.uint64(32))
    return place & mask


@compiled
def add_pairs(pairs: np.ndarray, new: np.ndarray) -> None:
    """Insert rows into an empty `Merges.pairs`, in which every pair is NO_PAIR."""
    mask = pairs.shape[0] - 1
    for number in range(new.shape[0]):
        place = _hash_pair(new[number, PAIR], mask)
        while pairs[place, PAIR] != NO_PAIR and pairs[place, PAIR] != new[number, PAIR]:
            place = (place + 1) & mask
        pairs[place, PAIR] = new[number, PAIR]
        pairs[place, RESULT] = new[number, RESULT]


@compiled
def _may_touch(neighbours: np.ndarray, first: np.uint64, second: np.uint64) -> bool:
    """Return whether two characters may be neighbours in a token; each is given as id + 1."""
    place, bit = _hash_neighbours(first, second, neighbours.size - 1)
    return neighbours[place] >> bit & 1 != 0


@compiled
def _hash_neighbours(first: np.uint64, second: np.uint64, mask: int) -> tuple[int, int]:
    digest: Any = np.int64(((first << np.uint64(24) | second) * _PRIME) >> np.uint64(32))
    return digest >> 3 & mask, digest & 7


@compiled
def add_neighbours(neighbours: np.ndarray, new: np.ndarray) -> None:
    """Set the bits of `Merges.neighbours` for pairs of characters, (.., 2) uint64, as id + 1."""
    for number in range(new.shape[0]):
        place, bit = _hash_neighbours(new[number, 0], new[number, 1], neighbours.size - 1)
        neighbours[place] |= 1 << bit
