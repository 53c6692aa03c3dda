"""BERT's WordPiece, compiled, on UTF-8 bytes: a table for single characters, a cache for runs.

The scan writes tokens as long as it knows all ids. After the first new run it only collects more
new runs, so that Python can encode many of them at once. Then it is called again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpt2zh.text.kernels.compiled import compiled
from gpt2zh.text.kernels.scan import (
    ASKED,
    AT,
    CROWDED,
    DOCUMENT,
    DONE,
    FULL,
    LONG,
    MISSING,
    OWN,
    PAGE,
    WRITTEN,
    Documents,
)
from gpt2zh.text.kernels.utf8 import PAGE_BITS, POINTS, decode

# Codes of the table. From ALONE on, the code point is always one token, with id code - ALONE.
UNPROBED, WORD, SPACE, UNKNOWN, ALONE = 0, 1, 2, 3, 4

LONGEST_WORD = 512
"""Maximum number of bytes of a run that is cached."""

# Columns of `Words.entries`. TOKENS is WAITING for a new word that does not have its ids yet.
HASH, KEY, SIZE, IDS, TOKENS, IS_UNKNOWN, COLUMNS = 0, 1, 2, 3, 4, 5, 6
WAITING = 1 << 40

# Columns of `Words.used`.
WORDS_USED, BYTES_USED = 0, 1

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_FOLD = np.uint64(29)


class Words(NamedTuple):
    """A hash table from the bytes of a run to its ids, for at most `w` words."""

    slots: np.ndarray
    """(power of two, at least 2 `w`) int32, number of an entry plus one, or 0."""
    entries: np.ndarray
    """(w, COLUMNS) int64."""
    keys: np.ndarray
    """uint8, the bytes of all words."""
    ids: np.ndarray
    """uint32, the ids of all words."""
    used: np.ndarray
    """(2,) int64, number of entries and of bytes in `keys`."""


class UnknownCounts(NamedTuple):
    """Counts of what became the unknown token: code points, and after them entries of `Words`."""

    counts: np.ndarray
    """(POINTS + w,) int64."""
    met: np.ndarray
    """(POINTS + w,) int32, the indices whose count is not 0."""
    number: np.ndarray
    """(1,) int64, how many indices there are in `met`."""
    token: int
    """Id of the unknown token."""


@compiled
def scan_wordpiece(
    documents: Documents, table: np.ndarray, words: Words, unknown: UnknownCounts
) -> int:
    """Encode documents from the position in `documents.state` on; see the module `scan`.

    Args:
        documents: Changed.
        table: (POINTS,) uint32 by code point: UNPROBED, WORD, SPACE, UNKNOWN or ALONE + id.
        words: New words are added, without ids.
        unknown: Changed.

    Returns:
        A status. LONG asks for the run from `state[AT]` to `state[ASKED]`.
    """
    state, closing = documents.state, documents.closing
    state[OWN] = 1  # whether all ids so far are known
    document, at = state[DOCUMENT], state[AT]
    while document < documents.begins.size:
        status = _scan_document(documents, at, documents.ends[document], table, words, unknown)
        if status != DONE:
            return status
        if state[OWN]:
            if state[WRITTEN] + closing.size > documents.out.size:
                return FULL
            for number in range(closing.size):
                documents.out[state[WRITTEN] + number] = closing[number]
            state[WRITTEN] += closing.size
            documents.stops[document] = state[WRITTEN]
            state[DOCUMENT] = document + 1
        document += 1
        at = documents.begins[document] if document < documents.begins.size else 0
        if state[OWN]:
            state[AT] = at
    return DONE if state[OWN] else MISSING


@compiled
def _scan_document(
    documents: Documents, at: int, end: int, table: np.ndarray, words: Words, unknown: UnknownCounts
) -> int:
    data, out, state = documents.data, documents.out, documents.state
    known, written = state[OWN], state[WRITTEN]
    status = DONE
    while at < end:
        point, after = decode(data, at, end)
        code = table[point]
        if code == SPACE:
            at = after
        elif code >= UNKNOWN:
            if known:
                if written == out.size:
                    status = FULL
                    break
                if code == UNKNOWN:
                    _count(unknown, point)
                    out[written] = unknown.token
                else:
                    out[written] = code - ALONE
                written += 1
            at = after
        else:
            stop, digest, unprobed = _scan_run(data, at, end, table)
            if unprobed >= 0:
                state[ASKED] = unprobed >> PAGE_BITS
                status = PAGE
                break
            if stop - at > LONGEST_WORD:
                state[ASKED] = stop
                status = LONG if known else MISSING
                break
            entry = _find(words, data, at, stop, digest)
            if entry < 0:
                status = CROWDED
                break
            tokens = words.entries[entry, TOKENS]
            if known:
                if tokens == WAITING:
                    known = 0
                    state[AT], state[WRITTEN] = at, written
                elif written + tokens > out.size:
                    status = FULL
                    break
                else:
                    first = words.entries[entry, IDS]
                    for number in range(tokens):
                        out[written + number] = words.ids[first + number]
                    written += tokens
                    if words.entries[entry, IS_UNKNOWN]:
                        _count(unknown, POINTS + entry)
            at = stop
    if known:
        state[AT], state[WRITTEN] = at, written
    state[OWN] = known
    return status


@compiled
def _scan_run(data: np.ndarray, at: int, end: int, table: np.ndarray) -> tuple[int, np.uint64, int]:
    """Return the end of the run of WORD at `at`; its hash; and an unprobed code point, or -1."""
    digest = np.uint64(0)
    while at < end:
        point, after = decode(data, at, end)
        code = table[point]
        if code == UNPROBED:
            return at, digest, point
        if code != WORD:
            break
        digest = (digest ^ np.uint64(point)) * _PRIME
        digest ^= digest >> _FOLD
        at = after
    return at, digest, -1


@compiled
def _find(words: Words, data: np.ndarray, begin: int, end: int, digest: np.uint64) -> int:
    """Return the entry of data[begin:end], which may be new, or -1 if there is no room."""
    mask = words.slots.size - 1
    signed = np.int64(digest)
    slot = signed & mask
    size = end - begin
    while words.slots[slot]:
        entry = words.slots[slot] - 1
        if words.entries[entry, HASH] == signed and words.entries[entry, SIZE] == size:
            key = words.entries[entry, KEY]
            same = 0
            while same < size and words.keys[key + same] == data[begin + same]:
                same += 1
            if same == size:
                return entry
        slot = (slot + 1) & mask
    entry = words.used[WORDS_USED]
    key = words.used[BYTES_USED]
    if entry == words.entries.shape[0] or key + size > words.keys.size:
        return -1
    for number in range(size):
        words.keys[key + number] = data[begin + number]
    words.entries[entry, HASH] = signed
    words.entries[entry, KEY] = key
    words.entries[entry, SIZE] = size
    words.entries[entry, TOKENS] = WAITING
    words.slots[slot] = entry + 1
    words.used[WORDS_USED] = entry + 1
    words.used[BYTES_USED] = key + size
    return entry


@compiled
def _count(unknown: UnknownCounts, number: int) -> None:
    if unknown.counts[number] == 0:
        unknown.met[unknown.number[0]] = number
        unknown.number[0] += 1
    unknown.counts[number] += 1
