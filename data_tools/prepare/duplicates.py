"""Find the documents that repeat an earlier one, over the whole input in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

_AT_ONCE = 1 << 22  # hashes sorted at once; with their places and copies of both 200 MB


def repeated(hashes: Callable[[], Iterable[np.ndarray]], documents: int) -> np.ndarray:
    """Return which documents have the hash of an earlier one, (documents,) bool.

    Memory is bounded: there is one pass over the hashes for each range of them that fits. Of 16
    million different documents (15 GB) two share a 64-bit hash with a probability of 7e-6.

    Args:
        hashes: Returns the hashes of all documents in order, in arrays of uint64, at each call.
        documents: How many there are.
    """
    copies = np.zeros(documents, bool)
    ranges = -(-documents // _AT_ONCE)
    for number in range(ranges):
        low = np.uint64(number * 2**64 // ranges)
        high = np.uint64((number + 1) * 2**64 // ranges - 1)
        found: list[np.ndarray] = []
        places: list[np.ndarray] = []
        begin = 0
        for some in hashes():
            inside = np.flatnonzero((some >= low) & (some <= high))
            found.append(some[inside])
            places.append(inside + begin)
            begin += len(some)
        copies[_all_but_first(np.concatenate(found), np.concatenate(places))] = True
    return copies


def _all_but_first(keys: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the places of all but the first of equal keys."""
    if not len(keys):
        return places
    order = np.argsort(keys)  # not stable, but several times faster; few keys have an equal
    keys = keys[order]
    equal = keys[1:] == keys[:-1]
    has_equal = np.append(equal, False) | np.append(False, equal)
    keys, places = keys[has_equal], places[order[has_equal]]
    order = np.lexsort((places, keys))
    keys, places = keys[order], places[order]
    return places[1:][keys[1:] == keys[:-1]]
